"""A service whose clock can be put wrong: ``python clock.py SERVICE`` with the seconds to add in the file ``DESKLINE_CHAOS_CLOCK``.

The wall clock of the whole process is moved (``time.time_ns``); the monotonic one is not, as when somebody sets the clock of a machine.
"""

import os
import sys
import time
from pathlib import Path

_real = time.time_ns
_file = Path(os.environ["DESKLINE_CHAOS_CLOCK"])
_known = [0.0, 0]


def _offset() -> int:
    # Looked at ten times a second: nobody asks a file for every reading.
    now = time.monotonic()
    if now - _known[0] > 0.1:
        _known[0] = now
        try:
            _known[1] = int(float(_file.read_text() or 0) * 1e9)
        except (OSError, ValueError):
            _known[1] = 0
    return int(_known[1])


time.time_ns = lambda: _real() + _offset()
time.time = lambda: time.time_ns() / 1e9

from deskline.cli import main  # noqa: E402 - only now, with the clock in its place

sys.argv = ["deskline", *sys.argv[1:]]
main()
