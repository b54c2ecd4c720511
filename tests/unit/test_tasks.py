"""Ending tasks that lose a cancellation."""

import asyncio

from deskline.tasks import end_all


async def test_a_task_that_loses_its_first_cancellations_is_ended_all_the_same():
    lost = 0

    async def stubborn() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost += 1
                if lost == 3:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end_all([task])
    assert task.cancelled()
    assert lost == 3


async def test_tasks_that_have_ended_or_fail_are_no_obstacle():
    async def fails() -> None:
        raise ValueError

    done = asyncio.create_task(asyncio.sleep(0))
    failed = asyncio.create_task(fails())
    await asyncio.wait([done, failed])
    await end_all([done, failed, asyncio.create_task(asyncio.sleep(60))])
    await end_all([])
    assert isinstance(failed.exception(), ValueError)
