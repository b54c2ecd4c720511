"""Errors, named by what to do next. One place maps them to actions: ``deskline.consumption``.

``Transient``: wait and try the same again. ``Poison``: this record can never be handled; dead letter. ``Stale``:
somebody else owns this now; drop what is cached and read again. Anything else is a bug: treated as poison for the
record that raises it, so that one defect does not stop a partition.
"""


class DesklineError(Exception):
    """Base of the errors that deskline raises on purpose; the text says what to do."""


class TransientError(DesklineError):
    """The database or the broker is away or busy: retry with back-off."""


class PoisonError(DesklineError):
    """No retry mends it, however often it is tried."""


class StaleError(DesklineError):
    """The lane moved on under another owner: discard, re-read, never retry blindly."""


class FatalError(DesklineError):
    """Going on would lose or corrupt something: stop the process with exit code 1."""


class UsageError(DesklineError):
    """The person at the keyboard can mend it; printed without a traceback, exit code 2."""
