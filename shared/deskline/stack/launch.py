"""Runs a command as another user, or tied to the life of its parent. Started by path, before any package is there.

``launch.py [--user NAME [--any-path]] [--death-signal N --parent PID] -- COMMAND…`` replaces itself by COMMAND.

Why not ``preexec_fn``: it runs Python between fork and exec in a process that has threads, which may deadlock.
``--user``: PostgreSQL refuses to run as root. ``--any-path`` keeps one capability (CAP_DAC_OVERRIDE) across the
change of user, so that a state directory or a virtual environment below a closed one (``/root``, a temporary folder
of mode 0700) works without opening that directory to everybody. Linux only; the standard library only.
"""

import ctypes
import os
import pwd
import sys
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_LINUX_CAPABILITY_VERSION_3 = 0x20080522


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def become(user: str, *, any_path: bool) -> None:
    """Give up root for ``user``, for good; with ``any_path`` keep CAP_DAC_OVERRIDE, for children too."""
    account = pwd.getpwnam(user)
    libc = _libc() if any_path else None
    if libc is not None:
        _check(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "keep capabilities")
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    if libc is not None:
        bit = 1 << _CAP_DAC_OVERRIDE
        header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
        # Two words of (effective, permitted, inheritable); the second holds capabilities from 32 on.
        _check(libc.capset(header, (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)), "set capabilities")
        _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0), "raise a capability")
    os.environ["HOME"] = "/"
    os.environ["USER"] = os.environ["LOGNAME"] = user


def die_with(parent: int, number: int) -> None:
    """Ask the kernel for signal ``number`` when the parent ends. After ``become``: a change of user clears it."""
    _check(_libc().prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "tie to the parent")
    if os.getppid() != parent:
        sys.exit("the parent has ended already")


def main(arguments: list[str]) -> NoReturn:
    options, command = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    value = {
        name: options[options.index(name) + 1] for name in ("--user", "--death-signal", "--parent") if name in options
    }
    if "--user" in value:
        become(value["--user"], any_path="--any-path" in options)
    if "--death-signal" in value:
        die_with(int(value["--parent"]), int(value["--death-signal"]))
    os.execvp(command[0], command)  # noqa: S606  (no shell is the point)


if __name__ == "__main__":
    main(sys.argv[1:])
