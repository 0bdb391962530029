"""What begins when the coordinator runs, since it takes real time; and rows that other programs have left."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import ClientSession

from coordinator.client import Dtm
from coordinator.dev.services import Services

CROWD: Final = 20  # at an endpoint that hangs and has fewer places
PLACES: Final = 6  # that each endpoint has
_FAX_SECONDS: Final = 120  # that one of them keeps its place
_BULK_RETRY: Final = "/api/operate/bulk/retry"
_MAKE_DUE: Final = "/api/dtmsvr/resetNextCronTime"
_PAYLOAD: Final = {"customer": "c-2041"}
_URL_OF_OTHERS: Final = "url-of-another-program"
_OTHERS: Final = {
    "leased-elsewhere": (
        "UPDATE trans_global SET owner = 'gone-36789/1/1', next_cron_time = '2099-01-01 00:00:00'"
        " WHERE gid = ?"
    ),
    "rows-of-another-program": "DELETE FROM trans_branch_op WHERE gid = ? AND op = 'action'",
    _URL_OF_OTHERS: "UPDATE trans_branch_op SET url = 'http://[shop' WHERE gid = ?",
}


@dataclass(frozen=True, slots=True)
class Begun:
    """See Example; of `url` of each service its first step is made."""

    gid: str
    code: str
    what: str
    make: Callable[[Dtm, Services, str], Awaitable[None]]


async def _hangs(dtm: Dtm, services: Services, gid: str) -> None:
    saga = dtm.saga(gid).add(
        services.url("shop", "/account"), services.url("shop", "/account/undo"), _PAYLOAD
    )
    saga.add(services.url("mail", "/send"), "", _PAYLOAD)
    await saga.submit()


async def _no_such_name(dtm: Dtm, services: Services, gid: str) -> None:
    await dtm.saga(gid).add("http://stock.invalid:8080/reserve", "", _PAYLOAD).submit()


async def _crowd(dtm: Dtm, services: Services, gid: str) -> None:
    for number in range(CROWD):
        name = f"fax-{number + 1:02d}" if number + 1 < CROWD else gid
        saga = dtm.saga(name, request_timeout=_FAX_SECONDS).add(services.url("fax", "/send"), "", _PAYLOAD)
        await saga.submit()


async def _refused(dtm: Dtm, services: Services, gid: str) -> None:
    await dtm.saga(gid).add(services.url("newsletter", "/send"), "", _PAYLOAD).submit()


BEGUN: Final[Sequence[Begun]] = (
    Begun("welcome-hangs", "W12", "a step that does not answer", _hangs),
    Begun("stock-no-such-name", "W16", "a host that nobody knows", _no_such_name),
    Begun("fax-last", "W05", "one of many at an endpoint with few places", _crowd),
    Begun("leased-elsewhere", "W02", "a coordinator that has gone without a word", _refused),
    Begun("rows-of-another-program", "W33", "rows that no rule explains", _refused),
    Begun(_URL_OF_OTHERS, "W34", "a url that cannot be called", _refused),
)


async def begin(dtm: Dtm, services: Services, file: Path, token: str) -> None:
    """Begin them. file: of the coordinator. token: of an operator. Raises DtmError, ClientError."""
    for begun in BEGUN:
        await begun.make(dtm, services, begun.gid)
    await asyncio.to_thread(_write_as_others, file)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with ClientSession(dtm.url, headers=headers, raise_for_status=True) as session:
        async with session.post(_MAKE_DUE, json={"gid": _URL_OF_OTHERS}):  # or it is seen after two intervals
            pass
        few = {"filter": _gids("order-{:03}", 9), "reason": "is the database back?"}
        async with session.post(_BULK_RETRY, json=few):
            pass
        many = {"filter": _gids("fax-{:02}", 12), "reason": "the line was busy", "rate": 1}
        async with session.post(_BULK_RETRY, json=many) as answer:
            job = (await answer.json())["job"]["id"]
        async with session.post(f"/api/operate/bulk/{job}/pause", json={"reason": "not during office hours"}):
            pass


def _gids(form: str, count: int) -> str:
    return " ".join(f"gid:{form.format(number)}" for number in range(1, count + 1))


def _write_as_others(file: Path) -> None:
    """As other programs would, that share the database."""
    with contextlib.closing(sqlite3.connect(file, timeout=5)) as connection, connection:
        for gid, statement in _OTHERS.items():
            connection.execute(statement, (gid,))
