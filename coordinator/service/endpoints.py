"""Where branches live: how calls go there, what waits for them, and holding them for a known outage."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from coordinator.access.audit import REFUSED, Actor, Record
from coordinator.access.recorder import Recorder
from coordinator.attempt import ENDPOINT_MAX
from coordinator.calls.url import endpoint_named
from coordinator.engine.admission import Door
from coordinator.engine.endpoint import name_of
from coordinator.engine.holding import Holding
from coordinator.engine.tools import Tools
from coordinator.errors import Conflict, Failure, Invalid
from coordinator.hold import Hold
from coordinator.service.lookup import RACES_MAX
from coordinator.store.hold_table import HOLDS_MAX
from coordinator.store.operate_tables import Group, Inbox, Waiting
from coordinator.store.wall_clock import rounded_up
from coordinator.watching.endpoint_record import EndpointRecord, Lately

HOLD_SECONDS_MAX: Final = 30 * 86_400
ENDPOINTS_SHOWN_MAX: Final = 500
REASON_MAX: Final = 500  # characters
_NOBODY_CALLS: Final = Door(0, 0, 0)


class StuckTables(Protocol):
    """What is asked of the store. Raises StoreUnavailable."""

    async def inbox(self, endpoint: str = "") -> Inbox:
        """See OperateTables."""
        ...

    async def waiting(self) -> Sequence[Waiting]:
        """See OperateTables."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """One endpoint, as this coordinator sees it; what is stuck is that of all who share the store.

    lately: how its calls went; None without any. at_hand: transactions that wait here for a place.
    stuck: since when, and how many, or None. errors: what they are stuck by, the most frequent first.
    """

    endpoint: str
    door: Door
    lately: Lately | None = None
    at_hand: int = 0
    stuck: Waiting | None = None
    errors: Sequence[Group] = ()
    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class HoldPreview:
    """What a hold would mean: the hold, how it is there now, and sentences for people."""

    hold: Hold
    seen: Seen
    sentences: Sequence[str]


class Endpoints:
    """tables: of the store, None where it has none. called: how calls from here went."""

    def __init__(
        self,
        tools: Tools,
        holding: Holding,
        recorder: Recorder,
        *,
        tables: StuckTables | None,
        called: EndpointRecord | None,
    ) -> None:
        self._tools = tools
        self._holding = holding
        self._recorder = recorder
        self._tables = tables
        self._called = called

    async def all(self) -> Sequence[Seen]:
        """Every endpoint that is known here; those first where most is stuck, then by name."""
        stuck = {it.endpoint: it for it in await self._tables.waiting()} if self._tables else {}
        errors: dict[str, list[Group]] = {}
        if stuck and self._tables:
            for group in (await self._tables.inbox()).groups:
                errors.setdefault(group.endpoint, []).append(group)
        doors, full_names, held = self._known()
        names = {*doors, *full_names, *stuck, *held}
        ranked = sorted(names, key=lambda name: (-stuck[name].count if name in stuck else 0, name))
        return [
            self._seen(name, doors, full_names, held, stuck.get(name), errors.get(name, ()))
            for name in ranked[:ENDPOINTS_SHOWN_MAX]
        ]

    async def one(self, wanted: str) -> Seen:
        """How it is at this endpoint; at one that nobody knows nothing is. Raises Invalid."""
        name = _named(wanted)
        inbox = await self._tables.inbox(name) if self._tables else Inbox((), 0)
        since = min((group.since for group in inbox.groups), default=None)
        stuck = Waiting(name, inbox.total, since) if since is not None else None
        return self._seen(name, *self._known(), stuck, inbox.groups)

    def holds(self) -> Sequence[Hold]:
        """What is held, as this coordinator knows and obeys it, by endpoint."""
        return self._holding.standing

    async def preview(self, wanted: str, seconds: int, reason: str, who: str) -> HoldPreview:
        """What a hold of that endpoint would mean; the reason may still be missing. Raises Invalid."""
        hold = self._wanted(wanted, seconds, reason or "…", who)
        seen = await self.one(hold.endpoint)
        return HoldPreview(hold, seen, _sentences(hold, seen))

    async def hold(self, wanted: str, seconds: int, reason: str, by: Actor) -> Hold:
        """Have nothing called at that endpoint for so many seconds, whatever it was held for before.

        Raises Invalid, Failure where too many are held, StoreUnavailable.
        """
        hold = self._wanted(wanted, seconds, reason, by.who)
        for _ in range(RACES_MAX):
            standing = {it.endpoint: it for it in self._holding.standing}
            before = standing.get(hold.endpoint)
            if before is None and len(standing) >= HOLDS_MAX:
                error = Failure(f"{HOLDS_MAX} endpoints are held already, and no more can be")
                refused = Record("hold", hold.endpoint, reason, outcome=f"{REFUSED}: {error.message}")
                self._recorder.refused(by, refused)
                raise error
            record = Record("hold", hold.endpoint, reason, _said(before), _said(hold))
            if await self._holding.hold(hold, self._recorder.rows(by, record)):
                self._recorder.done(by, record)
                return hold
        raise Conflict(f"endpoint '{hold.endpoint}' is being held by others at the same moment; ask again")

    async def release(self, wanted: str, by: Actor, reason: str = "") -> None:
        """Have calls to that endpoint begin again.

        Raises Invalid, Failure where it is not held, StoreUnavailable.
        """
        name = _named(wanted)
        _require_reason(reason)
        before = next((it for it in self._holding.standing if it.endpoint == name), None)
        record = Record("release", name, reason, _said(before) if before else "held", "not held")
        if not await self._holding.release(name, self._recorder.rows(by, record)):
            raise Failure(f"endpoint '{name}' is not held")
        self._recorder.done(by, record)

    def _wanted(self, wanted: str, seconds: int, reason: str, who: str) -> Hold:
        name = _named(wanted)
        if not 0 < seconds <= HOLD_SECONDS_MAX:
            raise Invalid(f"seconds: must be from 1 to {HOLD_SECONDS_MAX}, but is {seconds}")
        if not reason.strip():
            raise Invalid("reason: say why, for those who find that nothing is called")
        _require_reason(reason)
        now = self._tools.clock.now()
        until = rounded_up(now + timedelta(seconds=seconds))
        return Hold(name, reason.strip(), who, now.replace(microsecond=0), until)

    def _known(self) -> tuple[dict[str, Door], dict[str, str], dict[str, Hold]]:
        """The doors here by name, the endpoints that were called by name, and what is held by name."""
        called = self._called.endpoints() if self._called else ()
        return (
            dict(self._tools.admission.doors()),
            {name_of(endpoint): endpoint for endpoint in called},
            {hold.endpoint: hold for hold in self._holding.standing},
        )

    def _seen(
        self,
        name: str,
        doors: dict[str, Door],
        full_names: dict[str, str],
        held: dict[str, Hold],
        stuck: Waiting | None,
        errors: Sequence[Group],
    ) -> Seen:
        endpoint = full_names.get(name, name)
        lately = self._called.lately(endpoint) if self._called else None
        door = doors.get(name, _NOBODY_CALLS)
        return Seen(name, door, lately, self._tools.shelf.count(endpoint), stuck, errors, held.get(name))


def _named(wanted: str) -> str:
    if not wanted.strip():
        raise Invalid("endpoint: say which: scheme, host and port, or a gRPC target")
    if not wanted.isprintable():
        raise Invalid("endpoint: has a control character")
    try:
        name = name_of(endpoint_named(wanted))
    except ValueError as error:
        raise Invalid(f"endpoint: {wanted[:80]!r} {error}") from error
    if len(name) > ENDPOINT_MAX:
        raise Invalid(f"endpoint: is too long: {len(name)} characters, at most {ENDPOINT_MAX}")
    return name


def _require_reason(reason: str) -> None:
    if len(reason) > REASON_MAX:
        raise Invalid(f"reason: is too long: {len(reason)} characters, at most {REASON_MAX}")
    if not reason.isprintable():
        raise Invalid("reason: has a control character")


def _said(hold: Hold | None) -> str:
    return "not held" if hold is None else f"held until {hold.until:%Y-%m-%d %H:%M:%S} UTC: {hold.reason}"


def _sentences(hold: Hold, seen: Seen) -> Sequence[str]:
    stuck = seen.stuck.count if seen.stuck else 0
    return (
        f"No call to {hold.endpoint} starts before {hold.until:%Y-%m-%d %H:%M:%S} UTC, on any coordinator of"
        " this kind; in 5 seconds all of them know.",
        f"Calls that run go on: {seen.door.running} here. What is to be called next waits, {stuck} stuck"
        f" there already; it counts as no failure, and time limits go on.",
        "Then, or when somebody releases it, all that waits is called, as fast as the service takes it.",
        *([f"It is held already, {_said(seen.hold)[5:]}: that is replaced."] if seen.hold else []),
    )
