"""What can be found in `dtm dev`: one of every kind of stuck, and what is not stuck beside it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from coordinator.dev.past import ANN, BEN, NO_OPTIONS, Past
from coordinator.dev.services import SERVICES, Manner
from coordinator.explain.actions import Action
from coordinator.model import Options, Status, TransType

HOURS: Final = 2.6  # that the past is long
ORDERS: Final = 120  # that are stuck on one endpoint: more than one would look at one by one
_ORDER_INTERVAL: Final = 600  # seconds; with a shorter one they would be most of what is done at the start
_NOW_AND_THEN: Final = Options(retry_interval=240)  # what keeps its interval would have hundreds of rounds
_TOGETHER: Final = 12  # of them that come at once


@dataclass(frozen=True, slots=True)
class Example:
    """One that is there to be found. code: that `dtm why GID` says of it. minutes: ago it began."""

    gid: str
    code: str
    what: str
    minutes: float
    make: Callable[[Past, str], Awaitable[None]]

    async def happens(self, past: Past) -> None:
        """See Event."""
        await self.make(past, self.gid)


@dataclass(frozen=True, slots=True)
class Event:
    """What happened, so many minutes ago, beside the examples."""

    minutes: float
    happens: Callable[[Past], Awaitable[None]]


def _saga(
    service: str, path: str, *, scheme: str = "http", options: Options = NO_OPTIONS
) -> Callable[[Past, str], Awaitable[None]]:
    """A saga whose first step goes well, and whose second calls that service."""

    async def make(past: Past, gid: str) -> None:
        second = f"{scheme}://{past.services.endpoint(service)}{path}"
        await past.saga(gid, past.services.url("shop", "/reserve"), second, options=options)

    return make


def _undone(service: str, path: str, options: Options = NO_OPTIONS) -> Callable[[Past, str], Awaitable[None]]:
    """A saga that must undo what it has done at that service."""

    async def make(past: Past, gid: str) -> None:
        urls = (past.services.url(service, path), past.services.url("bank", "/deposit"))
        await past.saga(gid, *urls, options=options)

    return make


def _two_phases(trans_type: TransType, minutes: int) -> Callable[[Past, str], Awaitable[None]]:
    async def make(past: Past, gid: str) -> None:
        urls = (past.services.url("shop", "/seat"), past.services.url("airline", "/flight"))
        await past.two_phases(gid, trans_type, *urls, timeout=minutes * 60)

    return make


async def _prepared_message(past: Past, gid: str) -> None:
    urls = (past.services.url("shop", "/send"), past.services.url("newsletter", "/was-it-committed"))
    await past.message(gid, urls[0], asks=urls[1], options=_NOW_AND_THEN)


async def _delayed_message(past: Past, gid: str) -> None:
    await past.message(gid, past.services.url("shop", "/remind"), delay=24 * 3600)


async def _workflow(past: Past, gid: str) -> None:
    back = past.services.url("onboarding", "/workflow")
    await past.workflow(gid, "onboarding", back, "account", "mailbox")


async def _own_door(past: Past, gid: str) -> None:
    await past.saga(gid, f"http://{past.own_place}/api/dtmsvr/forceStop")


async def _no_such_name(past: Past, gid: str) -> None:
    await past.saga(gid, "http://stock.invalid:8080/reserve")


async def _wide(past: Past, gid: str) -> None:
    steps = [past.services.url("shop", f"/part/{number}") for number in range(1, 6)]
    steps.append(past.services.url("rooms", "/book"))
    await past.saga(gid, *steps, options=_NOW_AND_THEN, order={2: [0, 1], 3: [2], 5: [3, 4]})


async def _contents(past: Past, gid: str) -> None:
    payloads = (
        {"amount": 9_007_199_254_740_993, "note": "größer als 2⁵³ · 数字 · مرحبا"},
        bytes(range(0, 256, 5)),
    )
    await past.saga(
        gid, past.services.url("shop", "/json"), past.services.url("payment", "/bytes"), payloads=payloads
    )


# The longest ago first.
EXAMPLES: Final[Sequence[Example]] = (
    Example(
        "transfer-undo-refused",
        "W11",
        "a compensation whose service refuses connections",
        151,
        _undone("ledger", "/withdraw"),
    ),
    Example("signup-callback", "W11", "a message whose sender cannot be asked", 128, _prepared_message),
    Example("onboarding-away", "W11", "a workflow whose client is away", 95, _workflow),
    Example("trip-cancel-fails", "W15", "a TCC whose cancel fails", 84, _two_phases(TransType.TCC, 1)),
    Example("audit-rollback-fails", "W15", "an XA whose rollback fails", 80, _two_phases(TransType.XA, 2)),
    Example("seat-no-such-path", "W14", "a step that answers 404", 71, _saga("tickets", "/v1/seat")),
    Example("invoice-rejected", "W17", "a step that answers 422", 66, _saga("invoice", "/create")),
    Example(
        "points-refuses-undo",
        "W22",
        "a compensation that says FAILURE",
        61,
        _undone("points", "/add", _NOW_AND_THEN),
    ),
    Example("parcel-202", "W18", "a step that answers 202", 48, _saga("courier", "/order")),
    Example("vault-no-tls", "W13", "https to a service without it", 45, _saga("shop", "/", scheme="https")),
    Example("label-broken-off", "W19", "an answer that breaks off", 41, _saga("printer", "/label")),
    Example("trip-not-submitted", "W04", "a TCC whose client died", 37, _two_phases(TransType.TCC, 1440)),
    Example("own-door", "W32", "a url that may not be called", 33, _own_door),
    Example("reminder-tomorrow", "W03", "a message with a delay", 30, _delayed_message),
    Example(
        "room-not-confirmed",
        "W21",
        "a step that is ONGOING",
        26,
        _saga("rooms", "/book", options=_NOW_AND_THEN),
    ),
    Example("build-side-by-side", "W21", "a saga whose steps run at once", 18, _wide),
    Example("payload-large-numbers", "W15", "payloads that are not only JSON", 12, _contents),
)


async def _ledger_fails(past: Past) -> None:
    await past.services.turn("ledger", Manner(503, "the ledger is read-only", ops=("compensate",)))


async def _ledger_is_gone(past: Past) -> None:
    await past.services.turn("ledger", SERVICES["ledger"])


async def _topics(past: Past) -> None:
    shop = past.services.url("shop")
    await past.topic("user-registered", f"{shop}/welcome", f"{shop}/statistics")
    await past.topic("order-paid", f"{shop}/invoice")


def _order(number: int) -> str:
    return f"order-{number:03d}"


def _orders(numbers: range) -> Callable[[Past], Awaitable[None]]:
    async def happens(past: Past) -> None:
        steps = (past.services.url("shop", "/reserve"), past.services.url("payment", "/charge"))
        for number in numbers:
            limit = 1800 if number % 10 == 0 else 0  # seconds
            options = Options(timeout_to_fail=limit, retry_interval=_ORDER_INTERVAL)
            await past.saga(_order(number), *steps, options=options)

    return happens


def _done(number: int) -> Callable[[Past], Awaitable[None]]:
    """Something that went well, of each type in turns."""

    async def happens(past: Past) -> None:
        gid, shop = f"done-{number:02d}", past.services.url("shop")
        match number % 5:
            case 0 | 1:
                await past.saga(gid, f"{shop}/reserve", f"{shop}/charge")
            case 2:
                await past.message(gid, "topic://user-registered")
            case 3:
                await past.two_phases(gid, TransType.TCC, f"{shop}/seat", submit=True)
            case _:
                back = f"{shop}/workflow"
                await past.workflow(gid, "onboarding", back, "account", "mailbox", ends=Status.SUCCEED)

    return happens


def _rolled_back(number: int) -> Callable[[Past], Awaitable[None]]:
    async def happens(past: Past) -> None:
        urls = (past.services.url("shop", "/reserve"), past.services.url("bank", "/deposit"))
        await past.saga(f"rolled-back-{number}", *urls)

    return happens


async def _stopped(past: Past) -> None:
    await _saga("tickets", "/v0/seat")(past, "stopped-by-ann")


async def _stop(past: Past) -> None:
    await past.act("stopped-by-ann", Action.STOP, ANN, "sold on paper instead")


async def _retry(past: Past) -> None:
    await past.act("transfer-undo-refused", Action.RETRY, BEN, "the ledger should be back")


EVENTS: Final[Sequence[Event]] = (
    Event(60 * HOURS, _topics),
    Event(60 * HOURS, _ledger_fails),
    Event(76, _ledger_is_gone),
    Event(55, _stopped),
    Event(40, _stop),
    Event(35, _retry),
    *(Event(150 - 5 * number, _done(number)) for number in range(30)),
    *(Event(140 - 33 * number, _rolled_back(number + 1)) for number in range(4)),
    *(
        Event(24 - 2 * turn, _orders(range(1 + turn * _TOGETHER, 1 + (turn + 1) * _TOGETHER)))
        for turn in range(ORDERS // _TOGETHER)
    ),
)
