"""Submit, prepare, abort: how a transaction begins, and how a client ends it (PROTOCOL §5)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random

from coordinator.calls.branch_urls import BranchUrls
from coordinator.engine.drives import Engine
from coordinator.engine.endpoint import DEFERRED_SECONDS_MIN
from coordinator.errors import Failure, Invalid
from coordinator.model import Branch, Status, Transaction, TransactionRequest, TransType
from coordinator.service.gid import new_gid
from coordinator.service.lookup import RACES_MAX, Lookup, lost_races, refuse_other_type
from coordinator.service.new_transaction import new_transaction, submission
from coordinator.service.rounds import Rounds
from coordinator.service.step_results import keeps_results
from coordinator.service.topics import Topics
from coordinator.service.validate import (
    require_gid,
    require_text,
    topics_of,
    validated_branches,
)
from coordinator.service.workflows import Workflows
from coordinator.store.base import Assign, Change, Changed, Move, Moved, Store, Stored, payload_bytes
from coordinator.store.fence import assigned

_PREPARED = frozenset({Status.PREPARED})
_ABORTING = frozenset({Status.ABORTING})
_REGISTERED_LATER = frozenset({TransType.TCC, TransType.XA})  # branches may come until the status moves on


class Transactions:
    """What a client may ask for. Answers of success come after the commit that holds them.

    write_seconds: how long a caller waits for the store.
    """

    def __init__(
        self,
        engine: Engine,
        lookup: Lookup,
        rounds: Rounds,
        workflows: Workflows,
        topics: Topics,
        urls: BranchUrls,
        *,
        random: Random,
        write_seconds: float,
    ) -> None:
        self._engine = engine
        self._timing = engine.tools.timing
        self._lookup = lookup
        self._rounds = rounds
        self._workflows = workflows
        self._topics = topics
        self._urls = urls
        self._random = random
        self._write_seconds = write_seconds

    def new_gid(self) -> str:
        """A gid that nobody has: a random short UUID (PROTOCOL §3)."""
        return new_gid(self._random)

    async def submit(self, request: TransactionRequest) -> Mapping[str, bytes] | None:
        """Store the transaction and set it going; with wait_result return when its first round has succeeded.

        Returns what steps answered that keep their result, by branch_id; None without wait_result. Raises
        Failure, Ongoing or NoResult where the round ended otherwise, Failure where the gid is past
        submitting, Invalid, Conflict, Busy, StoreUnavailable. A workflow's submit says how it ended.
        """
        if request.trans_type == TransType.WORKFLOW:
            await self._workflows.submit(request)
        else:
            await self._submit(request)
        if request.options.wait_result and keeps_results(request):
            return await self.kept_results(request.gid)
        return None

    async def kept_results(self, gid: str) -> Mapping[str, bytes]:
        """What steps have answered that keep their result, by branch_id. Raises StoreUnavailable."""
        return await self._store.kept_results(gid)

    async def _submit(self, request: TransactionRequest) -> None:
        try:
            subscribers = await self._topics.subscribers(topics_of(request))
        except Invalid:
            if await self._lookup.read(request.gid) is None:
                raise
            # Of what was prepared the stored branches count, whoever has unsubscribed since.
            self._checked(replace(request, steps=(), payloads=()), {})
            if not await self._submit_stored(request):
                raise
            return
        branches = self._checked(request, subscribers)
        if self._engine.is_running(request.gid) and await self._join_running(request):
            return
        if _is_likely_prepared(request) and await self._submit_stored(request):
            return
        if await self._begin(request, branches):
            if request.options.wait_result:
                await self._rounds.answer(request.gid, Status.SUCCEED)
        elif not await self._submit_stored(request):
            await self._lookup.find_conflicting(request.gid)  # says what is in the way
            raise lost_races(request.gid)

    async def prepare(self, request: TransactionRequest) -> None:
        """Store the transaction without driving it. Again while it is prepared: success.

        Raises Failure in any other status, Invalid, Conflict, StoreUnavailable.
        """
        branches = self._checked(request, await self._topics.subscribers(topics_of(request)))
        transaction = new_transaction(self._engine.tools, request, Status.PREPARED)
        if await self._store.insert(transaction, branches, timeout=self._write_seconds):
            self._engine.tools.expect(transaction)
            return
        stored = await self._lookup.find_conflicting(request.gid)
        refuse_other_type(stored.transaction, request.trans_type, "prepare")
        if stored.transaction.status is not Status.PREPARED:
            raise Failure(f"current status '{stored.transaction.status}', cannot prepare.")

    async def abort(self, request: TransactionRequest) -> None:
        """Roll back on a client's word: a TCC or XA that is not submitted, a message that is prepared.

        With wait_result return when all is rolled back. Raises Failure in any other status and for every
        saga, which rolls back by its branches; otherwise as submit does.
        """
        require_gid(request.gid)
        require_text("rollback_reason", request.rollback_reason)
        for _ in range(RACES_MAX):
            stored = await self._lookup.find(request.gid)
            transaction = stored.transaction
            refuse_other_type(transaction, request.trans_type, "abort")
            match (transaction.trans_type, transaction.status):
                case (TransType.MSG, Status.PREPARED):
                    done = await self._give_up_message(transaction)
                case (TransType.TCC | TransType.XA, Status.PREPARED):
                    done = await self._abort_prepared(stored, request)
                case (TransType.TCC | TransType.XA, Status.ABORTING):
                    done = await self._abort_again(stored, request)
                case _:
                    raise Failure(
                        f"trans type: '{transaction.trans_type}' current status '{transaction.status}',"
                        " cannot abort."
                    )
            if done:
                return
        raise lost_races(request.gid)

    def _checked(
        self, request: TransactionRequest, subscribers: Mapping[str, Sequence[str]]
    ) -> tuple[Branch, ...]:
        no_results = self._engine.tools.no_results
        return validated_branches(request, subscribers, self._timing, self._urls, no_results=no_results)

    async def _begin(self, request: TransactionRequest, branches: tuple[Branch, ...]) -> bool:
        """Store what is new, and drive it if its first call can find a place; False when it is not new."""
        engine = self._engine
        with engine.entry(branches) as entry:
            owner = engine.new_owner()
            lease = engine.lease(owner, request.options)
            wanted = new_transaction(engine.tools, request, Status.SUBMITTED, owner)
            crowded = engine.tools.crowded_endpoint(Stored(wanted, branches))
            transaction = wanted
            if crowded:
                transaction = engine.tools.let_go(wanted, crowded, is_remembered=True)
                await engine.tools.lull.come()
            if not await self._store.insert(transaction, branches, timeout=self._write_seconds):
                return False
            stored = Stored(transaction, branches)
            if crowded:
                engine.tools.let_out(stored, wants_place=True)
            else:
                engine.start(stored, lease, entry)
            return True

    async def _join_running(self, request: TransactionRequest) -> bool:
        """A submit of what runs here already takes no place of its own; False when it runs no more."""
        stored = await self._lookup.read(request.gid)
        if stored is None or stored.transaction.status is not Status.SUBMITTED:
            return False
        refuse_other_type(stored.transaction, request.trans_type, "sumbmit")
        wait = request.options.wait_result
        return await self._rounds.join(stored, wait=wait, wanted=Status.SUCCEED)

    async def _submit_stored(self, request: TransactionRequest) -> bool:
        """Submit what is stored under this gid, or join its round; False where nothing is."""
        wait = request.options.wait_result
        for _ in range(RACES_MAX):
            moved = await self._take_over(request)
            if moved.stored is None:
                return False
            transaction = moved.stored.transaction
            refuse_other_type(transaction, request.trans_type, "sumbmit")
            if moved.changed is Changed.APPLIED:
                if wait:
                    await self._rounds.answer(request.gid, Status.SUCCEED)
                return True
            if transaction.status not in (Status.PREPARED, Status.SUBMITTED):
                raise Failure(f"current status '{transaction.status}', cannot sumbmit.")
            if await self._rounds.join(moved.stored, wait=wait, wanted=Status.SUCCEED):
                return True
        raise lost_races(request.gid)

    async def _take_over(self, request: TransactionRequest) -> Moved:
        """prepared → submitted, and driven, in the commit that reads it; the stored branches are used."""
        engine = self._engine
        clock = engine.tools.clock
        with engine.entry(()) as entry:
            owner, before = engine.new_owner(), clock.monotonic()
            assign = submission(engine.tools, request, owner, clock.now())
            move = Move(request.gid, request.trans_type, _PREPARED, assign)
            moved = await self._store.move(move, timeout=self._write_seconds)
            if moved.changed is Changed.APPLIED and moved.stored is not None:
                lease = engine.lease(owner, moved.stored.transaction.options, since=before)
                if entry.weigh(payload_bytes(moved.stored.branches)):
                    engine.start(moved.stored, lease, entry)
                else:
                    await self._leave_to_recovery(moved.stored.transaction)
        return moved

    async def _leave_to_recovery(self, transaction: Transaction) -> None:
        """Let go of what turned out to be too large to be driven just now."""
        soon = self._engine.tools.clock.now() + timedelta(seconds=DEFERRED_SECONDS_MIN)
        assign = Assign(owner="", next_cron_time=soon)
        change = Change(transaction.gid, frozenset({transaction.status}), transaction.owner, assign=assign)
        await self._store.change(change, timeout=self._write_seconds)

    async def _abort_prepared(self, stored: Stored, request: TransactionRequest) -> bool:
        timing, now = self._engine.tools.timing, self._engine.tools.clock.now()
        assign = Assign(
            status=Status.ABORTING,
            owner=self._engine.new_owner(),
            rollback_reason=request.rollback_reason,
            next_cron_time=timing.lease_end(stored.transaction.options, now),
        )
        wait = request.options.wait_result
        return await self._move(stored, _PREPARED, assign, wait=wait, wanted=Status.FAILED)

    async def _abort_again(self, stored: Stored, request: TransactionRequest) -> bool:
        """Aborting already: a reason given later replaces the first; whoever drives it goes on."""
        if reason := request.rollback_reason:
            change = Change(request.gid, _ABORTING, None, assign=Assign(rollback_reason=reason))
            if await self._store.change(change, timeout=self._write_seconds) is not Changed.APPLIED:
                return False
        return await self._rounds.join(stored, wait=request.options.wait_result, wanted=Status.FAILED)

    async def _move(
        self, stored: Stored, expected: frozenset[Status], assign: Assign, *, wait: bool, wanted: Status
    ) -> bool:
        """Take the row over with a new status and owner, and drive it; False when it moved meanwhile.

        Where the first call would find no place it is not driven yet. Raises Busy, changing nothing, when too
        many are running.
        """
        engine, gid = self._engine, stored.transaction.gid
        with engine.entry(stored.branches) as entry:
            moved = replace(stored, transaction=assigned(stored.transaction, assign))
            lease = engine.lease(moved.transaction.owner, moved.transaction.options)
            crowded = engine.tools.crowded_endpoint(moved)
            written = engine.tools.let_go(moved.transaction, crowded) if crowded else moved.transaction
            assign = replace(assign, owner=written.owner, next_cron_time=written.next_cron_time)
            change = Change(gid, expected, None, assign=assign)
            if await self._store.change(change, timeout=self._write_seconds) is not Changed.APPLIED:
                return False
            if written.owner:
                if written.trans_type in _REGISTERED_LATER:
                    moved = await self._lookup.find(gid)
                engine.start(moved, lease, entry)
            else:
                engine.tools.expect(written)
        if wait:
            await self._rounds.answer(gid, wanted)
        return True

    async def _give_up_message(self, transaction: Transaction) -> bool:
        change = Change(transaction.gid, _PREPARED, None, assign=Assign(status=Status.FAILED, owner=""))
        if await self._store.change(change, timeout=self._write_seconds) is not Changed.APPLIED:
            return False
        self._engine.tools.ended(transaction, Status.FAILED)
        return True

    @property
    def _store(self) -> Store:
        return self._engine.tools.store


def _is_likely_prepared(request: TransactionRequest) -> bool:
    """Whether most requests of this kind are the second phase of something that was prepared."""
    if request.trans_type == TransType.MSG:
        return bool(request.query_prepared)
    return request.trans_type in _REGISTERED_LATER
