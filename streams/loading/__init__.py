"""`tenor load`: how many calls an installation holds at a time, and what that takes.

So many made calls are played in real time; what comes of them is timed and accounted for, and the
processes are watched. `calls` makes the calls, `driving` sends them from a process of its own,
`reading` takes what comes, `latencies` and `accounts` judge it, `machine` watches, `run` puts it
all together, `report` says it, `search` finds the most calls that hold, `planning` extrapolates.
"""

from streams.errors import UserError


class LoadError(UserError):
    """Nothing could be measured; the message says why, and what to do."""
