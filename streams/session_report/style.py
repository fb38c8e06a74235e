"""How a report looks, and the policy by which a browser lets that in, and nothing else."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import Final

STYLE: Final = re.sub(
    r"\s+", " ", (files("streams.session_report") / "page.css").read_text(encoding="utf-8")
).strip()
POLICY: Final = (
    "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
    f"style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'"
)
"""The Content-Security-Policy under which a report can be read."""
