"""`tenor prove`: whatever happens to workers and brokers, the final results are the same.

The same calls are fed on an undisturbed installation and, for each scenario, on one to which the
scenario's faults happen; then all final results are compared, byte by byte.
"""

from streams.errors import UserError

SCENARIOS = (
    "kill",
    "term",
    "scale",
    "freeze",
    "restart-kafka",
    "broker",
    "disorder",
    "poison",
    "unavailable",
    "clock",
)
"""In the order in which `all` runs them; `streams.proving.scenarios` says what each does."""


class ProveError(UserError):
    """Nothing could be proved; the message says why, and names the logs."""
