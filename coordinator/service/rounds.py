"""Starting a round of a transaction, or joining the one that runs, and answering for it (PROTOCOL §5)."""

import asyncio

from coordinator.engine.drives import Engine
from coordinator.engine.lease import Lease
from coordinator.errors import Busy
from coordinator.model import Status, Transaction
from coordinator.service.answers import raise_unless_done
from coordinator.service.lookup import Lookup
from coordinator.store.base import Assign, Change, Changed, Stored
from coordinator.telemetry.log import log

_WAIT_BEYOND_CALL = 2  # seconds that an answer with wait_result may take beyond RequestTimeout
_FIRST_LOOK_SECONDS = 0.1  # until a row that is driven elsewhere is looked at again


class Rounds:
    """wanted, everywhere: the final status that is success for the caller. wait: for the round's end."""

    def __init__(self, engine: Engine, lookup: Lookup, *, write_seconds: float) -> None:
        self._engine = engine
        self._lookup = lookup
        self._write_seconds = write_seconds

    async def join(self, stored: Stored, *, wait: bool, wanted: Status) -> bool:
        """Wait for whoever drives it, or drive it from its stored rows if nobody does.

        Returns False when the row moved meanwhile: look again.
        """
        transaction, engine = stored.transaction, self._engine
        if self._is_held(transaction) and not engine.is_running(transaction.gid):
            if wait:
                await self._answer_from_elsewhere(transaction.gid, wanted)
            return True
        if not engine.is_running(transaction.gid) and not await self._drive(stored):
            return False
        if wait:
            await self.answer(transaction.gid, wanted)
        return True

    async def _drive(self, stored: Stored) -> bool:
        """Claim it and drive it here, if there is room; False when the row moved meanwhile.

        It is stored, and may have been changed for this very caller: where there is no room it is left to
        recovery rather than refused.
        """
        engine = self._engine
        if engine.tools.crowded_endpoint(stored):
            return True
        try:
            with engine.entry(stored.branches) as entry:
                lease = await self._claim(stored.transaction)
                if lease is None:
                    return False
                # Read again: between the first look and the claim another driver may have come and gone.
                engine.start(await self._lookup.find(stored.transaction.gid), lease, entry)
        except Busy:
            log.debug("no room to drive it here now; recovery will", gid=stored.transaction.gid)
        return True

    async def _claim(self, transaction: Transaction) -> Lease | None:
        engine = self._engine
        owner = engine.new_owner()
        lease = engine.lease(owner, transaction.options)
        until = engine.tools.timing.lease_end(transaction.options, engine.tools.clock.now())
        assign = Assign(owner=owner, next_cron_time=until)
        claim = Change(transaction.gid, frozenset({transaction.status}), transaction.owner, assign=assign)
        changed = await engine.tools.store.change(claim, timeout=self._write_seconds)
        return lease if changed is Changed.APPLIED else None

    def _is_held(self, transaction: Transaction) -> bool:
        return bool(transaction.owner) and transaction.next_cron_time > self._engine.tools.clock.now()

    async def answer(self, gid: str, wanted: Status) -> None:
        """Answer for the round that runs here, or comes, when it ends; if that takes too long, for the row.

        Raises as raise_unless_done does.
        """
        ended = await self._engine.round_ended(gid, self._answer_seconds)
        if ended is not None and not ended.fenced:
            return raise_unless_done(ended.transaction, ended.unhappy, wanted, ended.branch)
        return raise_unless_done((await self._lookup.find(gid)).transaction, None, wanted)

    async def _answer_from_elsewhere(self, gid: str, wanted: Status) -> None:
        """Another coordinator drives it: its row is looked at with growing pauses."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._answer_seconds
        pause = _FIRST_LOOK_SECONDS
        while True:
            transaction = (await self._lookup.find(gid)).transaction
            left = give_up - loop.time()
            if transaction.status.is_final or not self._is_held(transaction) or left <= 0:
                return raise_unless_done(transaction, None, wanted)
            ended = await self._engine.round_ended(gid, min(pause, left))
            if ended is not None and not ended.fenced:
                return raise_unless_done(ended.transaction, ended.unhappy, wanted, ended.branch)
            pause *= 2

    @property
    def _answer_seconds(self) -> float:
        return self._engine.tools.timing.request_timeout + _WAIT_BEYOND_CALL
