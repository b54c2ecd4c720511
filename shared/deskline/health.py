"""``python -m deskline.health [livez|readyz]``: whether the service in this container is ready (or merely alive).

For health checks that run a command, in images that have no HTTP client. Asks ``DESKLINE_HTTP_PORT`` on loopback; exit code
0 where the answer is 200, else 1 with the reason on standard output. The standard library alone, so that it starts quickly.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException
from typing import Final

_PATHS: Final = ("livez", "readyz")
# Below the time-out of the checks that call it, so that the reason is told.
_TIMEOUT_S: Final = 3.0


def ask(port: int, path: str) -> tuple[bool, str]:
    """(200 was answered, what was answered)."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        return answer.status == 200, answer.read(10_000).decode(errors="replace").strip()
    except (OSError, HTTPException) as error:
        return False, f"nobody answers on port {port}: {type(error).__name__}"
    finally:
        connection.close()


def main(arguments: list[str]) -> int:
    if arguments[1:] or (arguments and arguments[0] not in _PATHS):
        print(__doc__)  # noqa: T201
        return 0 if arguments == ["--help"] else 2
    port = os.environ.get("DESKLINE_HTTP_PORT", "")
    if not port.isdecimal() or int(port) == 0:
        print("deskline.health: set DESKLINE_HTTP_PORT to the service's port")  # noqa: T201
        return 2
    well, said = ask(int(port), arguments[0] if arguments else "readyz")
    print(said)  # noqa: T201
    return 0 if well else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
