"""Small files of the state directory, and free TCP ports."""

import contextlib
import json
import os
import random
import socket
from pathlib import Path
from typing import Any, Final

HOST: Final = "127.0.0.1"
# Below the range from which systems take the local ports of outgoing connections (32768 on Linux, 49152 elsewhere):
# a port kept over restarts must not be lent to a passing connection meanwhile.
_PORTS: Final = range(20_000, 32_000)


def write_atomically(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Readers see the old file or the new one, also after a crash of this process."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: Path) -> Any | None:
    """The parsed file, or None when it does not exist."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def port_is_free(port: int) -> bool:
    """Whether a server could bind the port now. Connections of an earlier server in TIME_WAIT do not count."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_ports(count: int, *, avoid: frozenset[int] = frozenset()) -> list[int]:
    """Ports that are free now, drawn at random so that stacks started side by side rarely want the same one."""
    drawn = random.SystemRandom().sample(_PORTS, k=len(_PORTS))
    found: list[int] = []
    for port in drawn:
        if len(found) == count:
            return found
        if port not in avoid and port_is_free(port):
            found.append(port)
    raise OSError(f"no {count} free ports between {_PORTS.start} and {_PORTS.stop}")


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log, for an error message."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 200 * lines))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(no log)"
