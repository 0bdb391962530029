"""The numbers of steps, by which their results are found again, the same in each run (PROTOCOL §1)."""

import asyncio
from typing import Any

from coordinator.client.errors import InvalidUse
from coordinator.client.patterns.workflow_rows import Halted, Step
from coordinator.client.transport.context import BranchContext
from coordinator.model import TransType


class Places:
    """The places of one chain of steps. prefix: "" for the function's own, else of what has it inside."""

    def __init__(self, gid: str, prefix: str = "") -> None:
        self._gid = gid
        self.prefix = prefix
        self.taken = 0
        self.is_asleep = False  # no other step begins in this run
        self._root = BranchContext(gid, TransType.WORKFLOW, prefix, "")
        self._own_task = asyncio.current_task()
        self._begun: dict[asyncio.Task[Any], int] = {}  # steps, of each task beside the chain's own

    def next(self, name: str) -> Step:
        """Return the place of the next step.

        Raises Halted where the chain sleeps, InvalidUse where the place depends on which of two is faster.
        """
        if self.is_asleep:
            raise Halted
        task = asyncio.current_task()
        if task is not None and task is not self._own_task:
            if task not in self._begun:
                self._begun = {one: steps for one, steps in self._begun.items() if not one.done()}
            self._begun[task] = self._begun.get(task, 0) + 1
            if self._begun[task] > 1 and sum(steps > 1 for steps in self._begun.values()) > 1:
                raise InvalidUse(
                    f"workflow {self._gid}: two chains of steps run at once, so that a step's number, by "
                    "which its result is found again after a crash, depends on which is faster: use "
                    "run_in_parallel, or only single steps at once",
                    gid=self._gid,
                )
        branch_id = self._root.next_branch_id()
        self.taken += 1
        return Step(branch_id, name)
