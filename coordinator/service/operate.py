"""What people and scripts ask to see why, and to act knowing what will happen (docs/operating.md)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol

from coordinator.access.audit import REFUSED, Actor, Record
from coordinator.access.recorder import Recorder
from coordinator.attempt import Attempt, notes_of
from coordinator.calls.branch_urls import BranchUrls
from coordinator.engine.drives import Engine
from coordinator.errors import DtmError, Failure, NotFound, StoreUnavailable
from coordinator.explain.actions import Action, Allowed, SkipReason, allowed_actions
from coordinator.explain.forecast import Forecast, all_succeed, forecast, goes_on
from coordinator.explain.play import Rows, Supposed
from coordinator.explain.preview import Effect, Preview, left_by_stop, preview
from coordinator.explain.why import STOPPED, Facts, Why, why
from coordinator.model import BranchKey, Transaction
from coordinator.owner import SEPARATOR, is_a_drivers
from coordinator.results import plain_url
from coordinator.service.acting import Acting, check_reason, record_of
from coordinator.service.filter_grammar import parse_filter
from coordinator.service.lookup import Lookup
from coordinator.service.validate import require_gid
from coordinator.store.base import Changed, Stored
from coordinator.store.fleet import Roll
from coordinator.store.operate_tables import Inbox, Shown
from coordinator.store.search import Page, Search

_WHOLE_SECOND: Final = timedelta(seconds=1)  # that columns have


class Tables(Protocol):
    """What is asked of the store. Raises StoreUnavailable."""

    async def search(self, wanted: Search, *, after: str, limit: int, now: datetime) -> Page:
        """See OperateTables."""
        ...

    async def show(self, gid: str) -> Shown | None:
        """See OperateTables."""
        ...

    async def inbox(self, endpoint: str = "") -> Inbox:
        """See OperateTables."""
        ...

    async def audit(
        self, *, limit: int, before_id: int | None, words: Sequence[str] = ()
    ) -> Sequence[Mapping[str, Any]]:
        """See OperateTables."""
        ...


class Nodes(Protocol):
    """Who shares the store. Raises DtmError."""

    async def read(self) -> Roll:
        """See NodeTable."""
        ...


@dataclass(frozen=True, slots=True)
class Explained:
    """All that is known of one transaction. goes_on: if what fails goes on failing; None: nothing does."""

    stored: Stored
    attempts: Sequence[Attempt]
    why: Why
    succeeds: Forecast
    goes_on: Forecast | None
    actions: Sequence[Allowed]
    left: Sequence[Effect] = ()  # what a stop has left of each step
    results: Mapping[str, bytes | None] = field(default_factory=dict)  # by branch_id; None: not to be seen


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants done. branch, skip_reason: of what is to be skipped."""

    action: Action
    branch: BranchKey = ("", "")
    skip_reason: SkipReason = SkipReason.HAPPENED_OUTSIDE


class Outdated(Failure):
    """The rows are not those of the preview that was agreed to: here is the one of today."""

    def __init__(self, made: Preview) -> None:
        super().__init__(
            "it has moved since the preview, or none was named: look at this one, and ask with its hash."
        )
        self.preview = made


class Operate:
    """tables, nodes: of the store; None where it has none."""

    def __init__(
        self,
        engine: Engine,
        lookup: Lookup,
        urls: BranchUrls,
        recorder: Recorder,
        acting: Acting,
        *,
        tables: Tables | None,
        nodes: Nodes | None,
        roll: Callable[[], Roll | None] = lambda: None,
        clocks_apart: Callable[[], float] = float,
    ) -> None:
        """roll: who shares the store, as was seen some seconds ago; None: not known.

        clocks_apart: seconds, of the database and this machine.
        """
        self._roll = roll
        self._clocks_apart = clocks_apart
        self._engine = engine
        self._lookup = lookup
        self._urls = urls
        self._recorder = recorder
        self._acting = acting
        self._tables_or_none = tables
        self._nodes = nodes

    async def search(self, text: str, *, after: str, limit: int) -> Page:
        """Transactions that the filter looks for. Raises Invalid."""
        wanted = parse_filter(text)
        return await self._tables.search(wanted, after=after, limit=limit, now=self._now)

    async def inbox(self) -> Inbox:
        """What is stuck, by its cause."""
        return await self._tables.inbox()

    async def audit(
        self, *, limit: int, before_id: int | None, words: Sequence[str] = ()
    ) -> Sequence[Mapping[str, Any]]:
        """Who did what, the newest first. words: see OperateTables."""
        return await self._tables.audit(limit=limit, before_id=before_id, words=words)

    async def nodes(self) -> Roll:
        """Who shares the store."""
        if self._nodes is None:
            raise StoreUnavailable("this store keeps no list of coordinators")
        return await self._nodes.read()

    async def lately(self) -> Roll:
        """The same as it was some seconds ago, without a look into the store where that is known."""
        return self._roll() or await self.nodes()

    async def show(self, gid: str) -> Explained:
        """Why it is where it is, what comes next, what may be done. Raises NotFound."""
        require_gid(gid)
        shown = await self._tables.show(gid)
        if shown is None:
            raise NotFound.of_gid(gid)
        stored, timing, now = shown.stored, self._engine.tools.timing, self._now
        transaction = stored.transaction
        rows = Rows(transaction, stored.branches)
        attempts = _with_latest_counts(transaction, shown.attempts)
        facts = await self._facts(stored, attempts, now)
        held = self._engine.tools.held(transaction)
        is_driven = is_a_drivers(transaction.owner) and facts.driver_is_alive
        failing = {(it.branch_id, it.op): Supposed(it.result, it.seconds) for it in attempts}
        told = partial(forecast, timing, rows, now=now, is_driven=is_driven, held=held)
        again = told(goes_on(failing)) if failing else None
        reason = why(timing, rows, facts)
        return Explained(
            stored,
            attempts,
            reason,
            told(all_succeed()),
            None if transaction.status.is_final else again,
            allowed_actions(timing, rows, now),
            left_by_stop(timing, rows, now) if reason.code.id == STOPPED else (),
            shown.results,
        )

    async def preview(self, gid: str, wish: Wish) -> Preview:
        """What would be done. Raises NotFound, Failure where it is not allowed, Invalid."""
        require_gid(gid)
        return self._preview(await self._lookup.find(gid), wish)

    async def act(self, gid: str, wish: Wish, agreed: str, by: Actor, reason: str = "") -> Preview:
        """Do it, if the rows are still those of a preview; returns that one. agreed: its hash.

        A retry needs none: it is as right for rows that have moved.
        Raises Outdated where they are not, Failure where it is not allowed, NotFound, Invalid, Conflict where
        others are quicker all the time.
        """
        require_gid(gid)
        check_reason(reason)

        async def write(stored: Stored) -> Preview | None:
            try:
                made = self._preview(stored, wish)
                if made.hash != agreed and (agreed or wish.action is not Action.RETRY):
                    raise Outdated(made)
            except Failure as error:
                record = Record(
                    wish.action,
                    gid,
                    reason,
                    stored.transaction.status,
                    outcome=f"{REFUSED}: {error.message}",
                )
                self._recorder.refused(by, record)
                raise
            record = record_of(stored.transaction, wish.action, made.planned, reason, wish.skip_reason)
            written = await self._acting.write(stored.transaction, made.planned, record, by, reason)
            return made if written is Changed.APPLIED else None

        return await self._lookup.settled(gid, write)

    def _preview(self, stored: Stored, wish: Wish) -> Preview:
        rows = Rows(stored.transaction, stored.branches)
        tools = self._engine.tools
        return preview(
            tools.timing,
            rows,
            wish.action,
            now=self._now,
            branch=wish.branch,
            reason=wish.skip_reason,
            held=tools.held(stored.transaction),
        )

    async def _facts(self, stored: Stored, attempts: Sequence[Attempt], now: datetime) -> Facts:
        tools, transaction = self._engine.tools, stored.transaction
        url_problem, hold, is_full = "", None, False
        try:
            branches = () if transaction.status.is_final else tools.next_branches(stored)
        except ValueError:  # no rule explains the rows, which `why` says itself
            branches = ()
        if branches:
            url_problem = self._urls.problem(plain_url(branches[0].url), transaction.protocol)
            endpoint = tools.caller.endpoint(transaction, branches[0])
            hold, is_full = tools.admission.held(endpoint), not tools.is_for_new(endpoint)
        is_alive, seen = await self._driver(transaction)
        return Facts(now, attempts, is_alive, seen, url_problem, hold, is_full, self._clocks_apart())

    async def _driver(self, transaction: Transaction) -> tuple[bool, datetime | None]:
        """Whether the coordinator that owns it lives, as far as is known, and when it was last seen."""
        if not is_a_drivers(transaction.owner):
            return False, None
        if self._engine.is_running(transaction.gid):
            return True, self._now
        try:
            roll = await self.lately()
        except DtmError:  # nobody knows
            return True, None
        found = roll.named(transaction.owner.rsplit(SEPARATOR, 2)[0])
        if found is None and transaction.update_time + _WHOLE_SECOND > roll.now:  # it may have come since
            return True, None
        return (found is not None and found in roll.alive(), found.last_seen if found else None)

    @property
    def _tables(self) -> Tables:
        if self._tables_or_none is None:
            raise StoreUnavailable("this store keeps nothing of what went wrong")
        return self._tables_or_none

    @property
    def _now(self) -> datetime:
        return self._engine.tools.clock.now()


def _with_latest_counts(transaction: Transaction, attempts: Sequence[Attempt]) -> list[Attempt]:
    """The attempts, with the counts that the transaction has of the latest: rows are written now and then."""
    tried = notes_of(transaction.ext_data).tried

    def counted(it: Attempt) -> Attempt:
        latest = tried.get((it.branch_id, it.op))
        if latest is None or latest.number != it.number or latest.times <= it.times:
            return it
        return replace(it, times=latest.times, last=max(it.last, transaction.update_time))

    return [counted(it) for it in attempts]
