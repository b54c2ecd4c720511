"""Ending tasks for good.

Under Python 3.11 a cancellation is lost when it meets the very moment in which ``asyncio.wait_for`` is done (mended in
3.12): the task goes on, and whoever waits for its end waits for ever. Our own code uses ``asyncio.timeout``, which does
not lose it; libraries do not, so a task is cancelled until it has ended.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_AGAIN_S: Final = 0.2


async def end_all(tasks: Iterable["asyncio.Future[Any]"]) -> None:
    """Cancel the tasks and wait until each has ended; their results and errors are dropped."""
    pending = everyone = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
    await asyncio.gather(*everyone, return_exceptions=True)
