"""The operations of the protocol: one implementation under HTTP, gRPC and JSON-RPC (PROTOCOL §5)."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random

from coordinator.clock import Clock
from coordinator.drive import Ended, Lease, assigned
from coordinator.engine import Engine
from coordinator.errors import Conflict, Failure, Invalid, NotFound, StoreUnavailable
from coordinator.gid import new_gid
from coordinator.model import UNFINISHED, Status, Transaction, TransactionRequest
from coordinator.store.base import Assign, Change, Changed, Filter, Store, Stored
from coordinator.validate import require_gid, require_order, validated_branches

_WAIT_BEYOND_CALL = 2  # seconds that an answer with wait_result may take beyond RequestTimeout
_POLL_SECONDS = 0.1  # how often a row driven elsewhere is looked at
_RACES_MAX = 5  # lost compare-and-sets in a row before the caller is told
_NO_RESULT = "wait result not return success:"


class Service:
    """What a client may ask for. Answers of success come after the commit that holds them.

    write_seconds: how long a caller waits for the store. wake: makes recovery look now.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        random: Random,
        wake: Callable[[], None],
        write_seconds: float,
        reset_seconds: float,
    ) -> None:
        """reset_seconds: what reset_cron_time takes when no time is given, 3 x TimeoutToFail."""
        self._engine = engine
        self._random = random
        self._wake = wake
        self._write_seconds = write_seconds
        self._reset_seconds = reset_seconds

    def new_gid(self) -> str:
        """A gid that nobody has: a random short UUID (PROTOCOL §3)."""
        return new_gid(self._random)

    async def submit(self, request: TransactionRequest) -> None:
        """Store the transaction and set it going; with wait_result return when its first round has succeeded.

        Raises Failure where the round ended otherwise or the gid is past submitting, Invalid, Conflict,
        Busy, StoreUnavailable.
        """
        branches = validated_branches(request)
        self._engine.require_room()
        owner = self._engine.new_owner()
        lease = self._engine.lease(owner, request.options)
        transaction = self._new_transaction(request, Status.SUBMITTED, owner)
        if await self._store.insert(transaction, branches, timeout=self._write_seconds):
            await self._go(Stored(transaction, branches), lease, request.options.wait_result)
        else:
            await self._submit_existing(request)

    async def prepare(self, request: TransactionRequest) -> None:
        """Store the transaction without driving it. Again while it is prepared: success.

        Raises Failure in any other status, Invalid, Conflict, StoreUnavailable.
        """
        branches = validated_branches(request)
        transaction = self._new_transaction(request, Status.PREPARED, self._engine.new_owner())
        if await self._store.insert(transaction, branches, timeout=self._write_seconds):
            return
        stored = await self._find_conflicting(request.gid)
        _refuse_other_type(stored.transaction, request.trans_type, "prepare")
        if stored.transaction.status is not Status.PREPARED:
            raise Failure(f"current status '{stored.transaction.status}', cannot prepare.")

    async def abort(self, request: TransactionRequest) -> None:
        """Roll back on a client's word. A saga never is: it rolls back by its branches (PROTOCOL §5)."""
        require_gid(request.gid)
        transaction = (await self._find(request.gid)).transaction
        _refuse_other_type(transaction, request.trans_type, "abort")
        raise Failure(
            f"trans type: '{transaction.trans_type}' current status '{transaction.status}', cannot abort."
        )

    async def query(self, gid: str) -> Stored | None:
        """The transaction and its branches, or None. Raises Invalid for an empty gid."""
        if not gid:
            raise Invalid("no gid specified")
        return await self._read(gid)

    async def all(self, wanted: Filter) -> Sequence[Transaction]:
        """Transactions, newest first."""
        return await self._store.list(wanted)

    async def force_stop(self, gid: str) -> None:
        """Set it to `failed`; nothing more is called. Raises Failure when it is final already."""
        require_gid(gid)
        for _ in range(_RACES_MAX):
            transaction = (await self._find(gid)).transaction
            if transaction.status.is_final:
                raise Failure(f"global transaction force stop error. status: {transaction.status}. error:")
            # The owner is taken away, so that whoever drives it is fenced off before its next call.
            stop = Change(gid, UNFINISHED, None, assign=Assign(status=Status.FAILED, owner=""))
            if await self._store.change(stop, timeout=self._write_seconds) is Changed.APPLIED:
                self._count_stopped(transaction)
                return
        raise _lost_races(gid)

    async def reset_next_cron_time(self, gid: str) -> None:
        """Make one unfinished transaction due now. One that runs here just now is left to its driver."""
        require_gid(gid)
        for _ in range(_RACES_MAX):
            transaction = (await self._find(gid)).transaction
            if transaction.status.is_final or self._engine.running_of(gid):
                return
            # Columns hold whole seconds, rounded up: of the second that has begun, it is due already.
            due = Assign(next_cron_time=self._clock.now().replace(microsecond=0))
            change = Change(gid, frozenset({transaction.status}), transaction.owner, assign=due)
            if await self._store.change(change, timeout=self._write_seconds) is Changed.APPLIED:
                self._wake()
                return
        raise _lost_races(gid)

    async def reset_cron_time(self, *, timeout: float | None, limit: int) -> tuple[int, bool]:
        """Make due now what is due later than `timeout` seconds from now (None: 3 x TimeoutToFail).

        Returns how many were changed, at most `limit`, and whether more remain.
        """
        now = self._clock.now()
        seconds = self._reset_seconds if timeout is None else timeout
        reset = await self._store.reset_cron_time(
            now=now, later_than=now + timedelta(seconds=seconds), limit=limit
        )
        self._wake()
        return reset

    async def _submit_existing(self, request: TransactionRequest) -> None:
        for _ in range(_RACES_MAX):
            stored = await self._find_conflicting(request.gid)
            transaction = stored.transaction
            _refuse_other_type(transaction, request.trans_type, "sumbmit")
            match transaction.status:
                case Status.PREPARED:
                    if await self._submit_prepared(stored, request):
                        return
                case Status.SUBMITTED:
                    if await self._submit_again(stored, request):
                        return
                case _:
                    raise Failure(f"current status '{transaction.status}', cannot sumbmit.")
        raise _lost_races(request.gid)

    async def _submit_prepared(self, stored: Stored, request: TransactionRequest) -> bool:
        """prepared → submitted: the submit's options count, the stored branches are used (PROTOCOL §5)."""
        require_order(request.custom_data, request.options, len({row.branch_id for row in stored.branches}))
        submitted = self._new_transaction(request, Status.SUBMITTED, self._engine.new_owner())
        lease = self._engine.lease(submitted.owner, request.options)
        assign = Assign(
            status=Status.SUBMITTED,
            owner=submitted.owner,
            options=request.options,
            custom_data=request.custom_data,
            next_cron_interval=submitted.next_cron_interval,
            next_cron_time=submitted.next_cron_time,
        )
        change = Change(request.gid, frozenset({Status.PREPARED}), None, assign=assign)
        if await self._store.change(change, timeout=self._write_seconds) is not Changed.APPLIED:
            return False
        now_submitted = replace(stored, transaction=assigned(stored.transaction, assign))
        await self._go(now_submitted, lease, request.options.wait_result)
        return True

    async def _submit_again(self, stored: Stored, request: TransactionRequest) -> bool:
        """submitted already: wait for whoever drives it, or drive it from its stored rows if nobody does."""
        transaction, wait = stored.transaction, request.options.wait_result
        running = self._engine.running_of(transaction.gid)
        if running is not None:
            if wait:
                await self._answer(running, transaction.gid)
            return True
        if transaction.owner and transaction.next_cron_time > self._clock.now():
            if wait:
                await self._answer_from_elsewhere(transaction.gid)
            return True
        owner = self._engine.new_owner()
        lease = self._engine.lease(owner, transaction.options)
        until = self._engine.tools.timing.lease_until(transaction, self._clock.now())
        assign = Assign(owner=owner, next_cron_time=until)
        claim = Change(transaction.gid, frozenset({Status.SUBMITTED}), transaction.owner, assign=assign)
        if await self._store.change(claim, timeout=self._write_seconds) is not Changed.APPLIED:
            return False
        # Read again: between the first look and the claim another driver may have come and gone.
        await self._go(await self._find(transaction.gid), lease, wait)
        return True

    async def _go(self, stored: Stored, lease: Lease, wait_result: bool) -> None:
        task = self._engine.start(stored, lease, patient=True)
        if wait_result:
            await self._answer(task, stored.transaction.gid)

    async def _answer(self, task: asyncio.Task[Ended], gid: str) -> None:
        """Answer for the round when it ends; for the stored row when that takes too long."""
        await asyncio.wait({task}, timeout=self._answer_seconds)
        if task.done() and not task.cancelled():
            ended = task.result()
            if not ended.fenced:
                return _raise_unless_succeeded(ended.transaction)
        return _raise_unless_succeeded((await self._find(gid)).transaction)

    async def _answer_from_elsewhere(self, gid: str) -> None:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._answer_seconds
        while True:
            transaction = (await self._find(gid)).transaction
            held = transaction.owner and transaction.next_cron_time > self._clock.now()
            if transaction.status.is_final or not held or loop.time() >= give_up:
                return _raise_unless_succeeded(transaction)
            await asyncio.sleep(_POLL_SECONDS)

    async def _read(self, gid: str) -> Stored | None:
        """Look for it no longer than a write may take: a store that hangs must not hold up its callers."""
        try:
            async with asyncio.timeout(self._write_seconds):
                return await self._store.find(gid)
        except TimeoutError as error:
            raise StoreUnavailable("the store did not answer in time") from error

    async def _find(self, gid: str) -> Stored:
        stored = await self._read(gid)
        if stored is None:
            raise NotFound.of_gid(gid)
        return stored

    async def _find_conflicting(self, gid: str) -> Stored:
        stored = await self._read(gid)
        if stored is None:  # the insert met a row, but not one of exactly this gid
            raise Conflict(
                f"gid '{gid}' differs only in case or trailing spaces from one that is stored already"
            )
        return stored

    def _new_transaction(self, request: TransactionRequest, status: Status, owner: str) -> Transaction:
        now, timing = self._clock.now(), self._engine.tools.timing
        interval = timing.first_interval(request.options)
        return Transaction(
            gid=request.gid,
            trans_type=request.trans_type,
            status=status,
            protocol=request.protocol,
            query_prepared=request.query_prepared,
            options=request.options,
            custom_data=request.custom_data,
            create_time=now,
            update_time=now,
            next_cron_interval=interval,
            next_cron_time=timing.lease_end(request.options, interval, now),
            owner=owner,
        )

    def _count_stopped(self, transaction: Transaction) -> None:
        seconds = (self._clock.now() - transaction.create_time).total_seconds()
        self._engine.tools.observer.transaction_ended(transaction.trans_type, Status.FAILED, seconds)

    @property
    def _answer_seconds(self) -> float:
        return self._engine.tools.timing.request_timeout + _WAIT_BEYOND_CALL

    @property
    def _store(self) -> Store:
        return self._engine.tools.store

    @property
    def _clock(self) -> Clock:
        return self._engine.tools.clock


def _raise_unless_succeeded(transaction: Transaction) -> None:
    # FAILURE here does not mean rolled back: the saga may still be running (PROTOCOL §5).
    if transaction.status is not Status.SUCCEED:
        raise Failure(transaction.rollback_reason or _NO_RESULT)


def _refuse_other_type(stored: Transaction, trans_type: str, wish: str) -> None:
    if stored.trans_type != trans_type:
        raise Failure(
            f"gid '{stored.gid}' is of trans type '{stored.trans_type}', not '{trans_type}', cannot {wish}."
        )


def _lost_races(gid: str) -> Conflict:
    return Conflict(f"gid '{gid}' is being changed by others all the time; ask again")
