"""What the errors have in common that are told to whoever runs Tenor."""

from __future__ import annotations


class UserError(Exception):
    """Something that the reader can put right; the message says what is wrong, and what to do."""
