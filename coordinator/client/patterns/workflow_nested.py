"""Chains of steps inside of a workflow: at once, or as a child, numbered apart (PROTOCOL §1, §7)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from coordinator.client.errors import Failure, InvalidUse
from coordinator.client.patterns.workflow_places import Places
from coordinator.client.patterns.workflow_rows import Halted
from coordinator.client.patterns.workflow_run import Run
from coordinator.client.transport.context import BRANCHES_MAX

T = TypeVar("T")

Chain = Callable[[str], Awaitable[T]]  # gets the prefix of its places


async def in_parallel(run: Run, places: Places, name: str, chains: Sequence[Chain[T]]) -> list[T]:
    """Run them all to their end, `0301…` and `0302…` of step 03; return their results.

    Raises the first Failure, in their order; else Halted where one sleeps; else the first that was raised.
    """
    step = places.next(name)
    run.check_nested(step)
    if len(chains) > BRANCHES_MAX:
        raise InvalidUse(f"{len(chains)} chains at once; at most {BRANCHES_MAX} have numbers", gid=run.gid)

    async def running(number: int, chain: Chain[T]) -> T:
        return await chain(f"{step.branch_id}{number:02d}")

    tasks = [asyncio.create_task(running(number, chain)) for number, chain in enumerate(chains, start=1)]
    try:
        if tasks:
            await asyncio.wait(tasks)
    finally:
        for task in tasks:
            task.cancel()
    raised = [error for task in tasks if (error := _raised(task)) is not None]
    for kind in (Failure, Halted, BaseException):
        for error in raised:
            if isinstance(error, kind):
                places.is_asleep = isinstance(error, Halted)
                raise error
    return [task.result() for task in tasks]


def _raised(task: asyncio.Task[T]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()


async def inside(run: Run, places: Places, name: str, chain: Chain[T]) -> T:
    """Run a chain, `0301…` of step 03; what it did is undone before its Failure is raised."""
    step = places.next(name)
    run.check_nested(step)
    try:
        return await chain(step.branch_id)
    except Halted:
        places.is_asleep = True
        raise
    except Failure:
        if run.stopped is None:  # else all is undone at the end
            await run.undo_inside(step.branch_id)
        raise
