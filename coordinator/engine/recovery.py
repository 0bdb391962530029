"""Takes up unfinished transactions whose time has come, as far as there is room for them (PROTOCOL §9)."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from coordinator.backoff import NEVER
from coordinator.engine.drives import Engine
from coordinator.engine.page import Page
from coordinator.engine.shelf import Known
from coordinator.errors import DtmError
from coordinator.model import Status, TransType
from coordinator.store.base import Candidate, Claim, Deferral, Due
from coordinator.telemetry.log import log

_UNDRIVEABLE: Final = timedelta(seconds=300)  # until a row that nobody can drive is looked at again
_JUDGED_TOGETHER: Final = 32  # then others have their turn
_STARTED_TOGETHER: Final = 8  # then others have their turn: the first call of each is worked out at once
# What mostly finds no place is put off in small pages, with pauses: others' calls wait for each. In full
# ones, which cost less a row, where it falls behind: what finds a place waits for all that was due before.
_CROWDED_PAGE: Final = 64
_PAUSE_SECONDS: Final = 0.00015  # for each row
_BEHIND: Final = timedelta(seconds=2)
_SPREAD_SECONDS: Final = 0.25  # of coordinators that look for the same rows
_OUTRUN_SECONDS: Final = 0.01
_AGAIN_SECONDS: Final = 3.0  # after a look that failed
_DEFERRED_LOOK_SECONDS: Final = 1.0  # columns hold whole seconds


class Recovery:
    """Polls the store every `interval` seconds, when something is due, or when woken; drives what it claims.

    page: how many due rows are claimed or deferred in one commit. Whose endpoint has no place is deferred, so
    that it is in nobody's way, and kept at hand for the moment when a place comes free.
    """

    def __init__(self, engine: Engine, *, interval: float, page: int = 128) -> None:
        self._engine = engine
        self._interval = interval
        self._page = page
        self._is_crowded = False  # the last page mostly found no place, and did not come late
        self._shelf = engine.tools.shelf
        self._wake = asyncio.Event()
        self._alarm = engine.tools.alarm
        self._alarm.horizon = interval
        self._alarm.sooner = self._rearm
        self._is_rearmed = False
        self._all_found: datetime | None = None  # whatever was due in that second
        self._is_asked = False  # to look into the store, by somebody who changed rows there
        self._problem = "has not looked yet"
        engine.tools.admission.room_came = self._look_soon

    @property
    def problem(self) -> str:
        """Why recovery does not work just now; empty when it does."""
        return self._problem

    def wake(self) -> None:
        """Look now rather than at the next interval."""
        self._is_asked = True
        self._look_soon()

    def _look_soon(self) -> None:
        self._is_rearmed = False
        self._wake.set()

    def _rearm(self) -> None:
        """Rest no longer than until the alarm's first moment, which has come nearer."""
        if not self._wake.is_set():
            self._is_rearmed = True
            self._wake.set()

    async def run(self) -> None:
        """Go on until cancelled. A store that is away is waited for, and no row ends this."""
        while True:
            self._wake.clear()
            self._is_rearmed = False
            pause = min(self._interval, _AGAIN_SECONDS)
            try:
                pause = await self.look()
                self._problem = ""
            except DtmError as error:
                self._problem = str(error)
                log.warning("recovery could not look for due transactions: {}", error)
            except Exception as error:  # noqa: BLE001 - this loop must outlive any row
                self._problem = repr(error)
                log.error("recovery stumbled, and goes on", exception=error)
            await self._rest(pause)

    async def look(self) -> float:
        """Claim and start what is due, as far as there is room; return the seconds until the next look.

        0 when there may be more. Raises DtmError.
        """
        tools = self._engine.tools
        size = min(self._page, _CROWDED_PAGE) if self._is_crowded else self._page
        page = Page(tools.clock.now(), tools.clock.monotonic(), size)
        self._alarm.looked(page.now)
        if self._engine.why_no_work():
            return self._interval
        tools.admission.look_again()
        try:
            found = await self._decide(page)
            await self._write(page)
        except DtmError:
            for known in page.taken:
                self._shelf.put(known.due, known.kind)
            raise
        finally:
            for _, entry in page.claims.values():  # whatever is not driven
                entry.leave()
        await asyncio.sleep(0)  # each asks for its place: the next look must count them
        if page.is_house_full:
            return self._interval  # whoever leaves wakes us
        if page.size in (found, page.wanted):
            if not page.is_mostly_again(found):
                return 0.0
            await tools.lull.come()
            return _PAUSE_SECONDS * found
        if page.claims:  # others had claimed what was remembered here: there is room still
            return _OUTRUN_SECONDS
        if page.has_looked:
            await self._set_alarm(page.now)
            self._all_found = page.second
        return min(_DEFERRED_LOOK_SECONDS, self._interval) if tools.admission.has_deferred else self._interval

    async def _set_alarm(self, now: datetime) -> None:
        """What is due next, whoever stored it; those who share a database come one after the other."""
        tools = self._engine.tools
        earliest = await tools.store.next_due(after=now)
        if earliest is not None:
            self._alarm.note(earliest, tools.clock.now(), spread=_SPREAD_SECONDS * tools.random.random())

    async def _decide(self, page: Page) -> int:
        """Judge what is at hand and what is due; return how many were due."""
        store = self._engine.tools.store
        self._take_from_shelf(page)
        wanted = self._wanted(page)
        page.wanted = len(wanted)
        if page.claims and not wanted and self._all_found == page.second and not self._is_asked:
            return 0
        page.has_looked, self._is_asked, self._all_found = True, False, None
        found = await store.find_due(now=page.now, limit=page.size, also=wanted)
        if wanted:
            found = self._shelve(wanted, found, page)
            self._take_from_shelf(page)
        unknown = [due for due in found if due.id not in page.claims and not self._judge_known(due, page)]
        if found:
            due_since = found[0].next_cron_time or page.now
            self._is_crowded = page.is_mostly_again(len(found)) and page.now - due_since < _BEHIND
        candidates = await store.look_at(unknown) if unknown else ()
        for number, candidate in enumerate(candidates, 1):
            self._judge(candidate, page)
            if number % _JUDGED_TOGETHER == 0:
                await asyncio.sleep(0)
        return len(found)

    def _judge(self, candidate: Candidate, page: Page) -> None:
        """Decide about one row that is due."""
        tools, stored = self._engine.tools, candidate.stored
        if candidate.due.id in page.claims:  # found twice: it got another status between two reads
            return None
        if stored is None:  # the store has said why
            return self._put_off(candidate, _UNDRIVEABLE, page)
        transaction = stored.transaction
        if transaction.trans_type not in tools.patterns:  # MySQL compares without regard to case
            log.error("not driven: its trans_type is '{}'", transaction.trans_type, gid=transaction.gid)
            return self._put_off(candidate, _UNDRIVEABLE, page)
        if transaction.trans_type == TransType.SAGA and transaction.status is Status.PREPARED:
            return self._put_off(candidate, NEVER, page)
        try:
            endpoints = tools.next_endpoints(stored)
        except Exception as error:  # noqa: BLE001 - a row that no client can have made must not end the others
            log.error("cannot be driven, its row stays as it is: {}", error, gid=transaction.gid)
            return self._put_off(candidate, _UNDRIVEABLE, page)
        endpoint = tools.one_with_room(endpoints)
        known = Known(candidate.due, tools.kind(transaction, candidate.payload_bytes, endpoint))
        if not self._has_room(endpoint, page):
            return self._defer(known, page, is_kept=len(endpoints) == 1)
        self._admit(known, page)
        return None

    def _wanted(self, page: Page) -> Sequence[str]:
        """Gids of what was stored a moment ago, where there is room for it before its time comes."""
        wanted: list[str] = []
        for endpoint in self._shelf.endpoints():
            if len(wanted) < page.size and self._has_room(endpoint, page):
                wanted += self._shelf.unfound(endpoint, page.size - len(wanted))
        return wanted

    def _shelve(self, wanted: Sequence[str], found: Sequence[Due], page: Page) -> Sequence[Due]:
        """Keep the wanted rows under the ids that were found; return what is due."""
        due, later = list[Due](), dict[str, Due]()
        for one in found:
            if one.next_cron_time is None or one.next_cron_time <= page.now:
                due.append(one)
            else:
                later[one.gid] = one
        due_now = {one.gid for one in due}
        self._shelf.identify([gid for gid in wanted if gid not in due_now], later)
        return due

    def _take_from_shelf(self, page: Page) -> None:
        """What was deferred need not wait for its time where there is room before."""
        for endpoint in self._shelf.endpoints():
            while self._has_room(endpoint, page) and not page.is_house_full:
                known = self._shelf.take(endpoint)
                if known is None:
                    break
                if not known.is_over(page.now):
                    self._admit_known(known, page)

    def _judge_known(self, due: Due, page: Page) -> bool:
        """Decide about what was deferred here, if it is as it was left; False where its row must be read."""
        known = self._shelf.known(due)
        if known is None or known.is_over(page.now):
            self._shelf.forget(due.gid)
            return False
        if not self._has_room(known.kind.endpoint, page):
            self._defer(known, page)
            page.again += 1
            return True
        self._shelf.forget(due.gid)
        if due.status == Status.PREPARED:  # it may have grown by branches since
            return False
        self._admit_known(known, page)
        return True

    def _admit_known(self, known: Known, page: Page) -> None:
        if self._admit(known, page):
            page.taken.append(known)
        else:
            self._shelf.put(known.due, known.kind)

    def _defer(self, known: Known, page: Page, *, is_kept: bool = True) -> None:
        """is_kept: at hand for a place there; else it is read when it is due, and may have one elsewhere."""
        due, until = known.due, known.not_after(self._due_again(known.kind.endpoint, page))
        page.deferrals.append(Deferral(due, until))
        if is_kept:
            self._shelf.put(Due(due.id, due.gid, due.status, "", until), known.kind)

    def _due_again(self, endpoint: str, page: Page) -> datetime:
        """When one more row of this endpoint is; where many are at hand, a page of them at one time."""
        if (until := page.together.get(endpoint)) is not None:
            return until
        admission, times = self._engine.tools.admission, self._shelf.patience(endpoint)
        until = page.now + timedelta(seconds=admission.defer(endpoint, was_due=True, times=times))
        if times > 1 and admission.held(endpoint) is None:
            page.together[endpoint] = until  # to write one time is a tenth of the work
        return until

    def _put_off(self, candidate: Candidate, how_long: timedelta, page: Page) -> None:
        page.deferrals.append(Deferral(candidate.due, page.now + how_long))

    def _has_room(self, endpoint: str, page: Page) -> bool:
        admission = self._engine.tools.admission
        return not endpoint or admission.has_room(endpoint, expected=page.expected.get(endpoint, 0))

    def _admit(self, known: Known, page: Page) -> bool:
        entry = self._engine.tools.admission.enter(known.kind.payload_bytes)
        if entry is None:
            page.is_house_full = True
            return False
        until = page.now + timedelta(seconds=known.kind.lease_seconds)
        page.claims[known.due.id] = Claim(known.due, until), entry
        page.expected[known.kind.endpoint] = page.expected.get(known.kind.endpoint, 0) + 1
        return True

    async def _write(self, page: Page) -> None:
        """Claim and defer in one commit, then drive what was claimed."""
        if not (page.claims or page.deferrals):
            return
        engine = self._engine
        owner = engine.new_owner()
        claims = [claim for claim, _ in page.claims.values()]
        claimed = await engine.tools.store.claim(claims, page.deferrals, owner=owner, now=page.now)
        for number, stored in enumerate(claimed, 1):
            lease = engine.lease(owner, stored.transaction.options, since=page.began)
            engine.start(stored, lease, page.claims.pop(stored.transaction.id)[1])
            if number % _STARTED_TOGETHER == 0:
                await asyncio.sleep(0)

    async def _rest(self, seconds: float) -> None:
        """So long, until the alarm's first moment, or until woken."""
        clock = self._engine.tools.clock
        until = clock.monotonic() + seconds
        while True:
            left, first = until - clock.monotonic(), self._alarm.first()
            if first is not None:
                left = min(left, first - clock.now().timestamp())
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                return
            if not self._is_rearmed:
                return
            self._is_rearmed = False
            self._wake.clear()
