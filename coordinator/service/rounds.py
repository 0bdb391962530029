"""Starting a round of a transaction, or joining the one that runs, and answering for it (PROTOCOL §5)."""

import asyncio

from coordinator.engine.drive import Ended, Lease
from coordinator.engine.drives import Engine
from coordinator.model import Status, Transaction
from coordinator.service.answers import raise_unless_done
from coordinator.service.lookup import Lookup
from coordinator.store.base import Assign, Change, Changed, Stored

_WAIT_BEYOND_CALL = 2  # seconds that an answer with wait_result may take beyond RequestTimeout
_POLL_SECONDS = 0.1  # how often a row driven elsewhere is looked at


class Rounds:
    """wanted, everywhere: the final status that is success for the caller. wait: for the round's end."""

    def __init__(self, engine: Engine, lookup: Lookup, *, write_seconds: float) -> None:
        self._engine = engine
        self._lookup = lookup
        self._write_seconds = write_seconds

    async def join(self, stored: Stored, *, wait: bool, wanted: Status) -> bool:
        """Wait for whoever drives it, or drive it from its stored rows if nobody does.

        Returns False when the row moved meanwhile: look again. Raises Busy when nobody drives it and too many
        are running here.
        """
        transaction = stored.transaction
        running = self._engine.running_of(transaction.gid)
        if running is not None:
            if wait:
                await self.answer(running, transaction.gid, wanted)
            return True
        if self._is_held(transaction):
            if wait:
                await self._answer_from_elsewhere(transaction.gid, wanted)
            return True
        with self._engine.place():
            lease = await self._claim(transaction)
            if lease is None:
                return False
            # Read again: between the first look and the claim another driver may have come and gone.
            running = self._engine.start(await self._lookup.find(transaction.gid), lease, patient=True)
        if wait:
            await self.answer(running, transaction.gid, wanted)
        return True

    async def _claim(self, transaction: Transaction) -> Lease | None:
        owner = self._engine.new_owner()
        lease = self._engine.lease(owner, transaction.options)
        until = self._engine.tools.timing.lease_until(transaction, self._engine.tools.clock.now())
        assign = Assign(owner=owner, next_cron_time=until)
        claim = Change(transaction.gid, frozenset({transaction.status}), transaction.owner, assign=assign)
        changed = await self._engine.tools.store.change(claim, timeout=self._write_seconds)
        return lease if changed is Changed.APPLIED else None

    def _is_held(self, transaction: Transaction) -> bool:
        return bool(transaction.owner) and transaction.next_cron_time > self._engine.tools.clock.now()

    async def answer(self, task: asyncio.Task[Ended], gid: str, wanted: Status) -> None:
        """Answer for the round when it ends; for the stored row when that takes too long.

        Raises as raise_unless_done does.
        """
        await asyncio.wait({task}, timeout=self._answer_seconds)
        if task.done() and not task.cancelled():
            ended = task.result()
            if not ended.fenced:
                return raise_unless_done(ended.transaction, ended.unhappy, wanted)
        return raise_unless_done((await self._lookup.find(gid)).transaction, None, wanted)

    async def _answer_from_elsewhere(self, gid: str, wanted: Status) -> None:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._answer_seconds
        while True:
            transaction = (await self._lookup.find(gid)).transaction
            if transaction.status.is_final or not self._is_held(transaction) or loop.time() >= give_up:
                return raise_unless_done(transaction, None, wanted)
            await asyncio.sleep(_POLL_SECONDS)

    @property
    def _answer_seconds(self) -> float:
        return self._engine.tools.timing.request_timeout + _WAIT_BEYOND_CALL
