"""Whether the process in this container is ready: exit status 0 if `/readyz` says so.

python healthcheck.py VARIABLE PORT: the variable that names the port, and the port without it
"""

import os
import sys
import urllib.error
import urllib.request


def main(variable: str, port: str) -> str | None:
    """What is wrong; None: nothing."""
    url = f"http://127.0.0.1:{os.environ.get(variable, port)}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=2):
            return None
    except urllib.error.HTTPError as error:
        return error.read(500).decode(errors="replace")
    except OSError as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
