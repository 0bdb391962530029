"""Endpoints as operators see them, and holding them: what is meant, recorded, and said before."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from coordinator.access.audit import Actor
from coordinator.access.recorder import Recorder
from coordinator.engine.holding import Holding
from coordinator.errors import Failure, Invalid, StoreUnavailable
from coordinator.model import Result
from coordinator.service.endpoints import HOLD_SECONDS_MAX, Endpoints
from coordinator.store.hold_table import HOLDS_MAX
from coordinator.store.operate_tables import Group, Inbox, Waiting
from coordinator.store.own_rows import OwnRow
from coordinator.watching.endpoint_record import EndpointRecord
from tests.simulation.hold_rows import HoldRows
from tests.simulation.rows import START
from tests.support.attempts import stuck
from tests.unit.service.bench import Bench, virtually

ANNA = Actor("anna", "token 1", "10.0.0.1")
BANK = "http://bank:8080"


class Tables:
    """What is stuck: by two causes at the bank."""

    async def waiting(self) -> Sequence[Waiting]:
        return [Waiting(BANK, 7, START)]

    async def inbox(self, endpoint: str = "") -> Inbox:
        if endpoint not in ("", BANK):
            return Inbox((), 0)
        causes = [("refused: #", 5), ("timeout: #", 2)]
        return Inbox([Group(BANK, "action", it, n, START, stuck("g1")) for it, n in causes], 7)


class Kept:
    """The table of who did what."""

    def __init__(self) -> None:
        self.rows: list[OwnRow] = []

    async def add(self, rows: Sequence[OwnRow]) -> None:
        self.rows += rows

    async def forget(self, *_: Any, **__: Any) -> int:
        return 0


class Desk:
    """The operations of one coordinator, and the table behind them."""

    def __init__(self, *, tables: Tables | None = None) -> None:
        self.bench = Bench()
        tools = self.bench.tools
        self.rows, self.kept, self.called = HoldRows(), Kept(), EndpointRecord(lambda: 1000.0)
        recorder = Recorder(self.kept, tools.clock, coordinator="one", kept=timedelta(1))
        self.recorder = recorder
        self.holding = Holding(self.rows, tools.admission, tools.clock)
        self.endpoints = Endpoints(tools, self.holding, recorder, tables=tables, called=self.called)

    @property
    def records(self) -> list[dict[str, Any]]:
        return [dict(zip(row.columns, row.values, strict=True)) for row in self.rows.records]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("http://bank:8080", BANK),
        ("HTTP://Bank:8080/api/pay?x=1", BANK),
        ("http://anna:secret@bank:8080/", BANK),
        ("https://bank", "https://bank:443"),
        ("bank:9090", "bank:9090"),
        ("bank:9090/pay.Bank/Pay", "bank:9090"),
        ("grpcs://bank:9090/pay.Bank/Pay", "bank:9090"),
        ("etcd://etcd:2379/pay.rpc", "etcd://etcd:2379/pay.rpc"),
        ("etcd://etcd:2379/pay.rpc/pay.Bank/Pay", "etcd://etcd:2379/pay.rpc"),
        ("etcd://etcd:2379/pay.rpc?user=anna&password=secret", "etcd://etcd:2379/pay.rpc"),
        ("dns:///bank:9090", "dns:///bank:9090"),
    ],
)
@virtually
async def test_an_endpoint_is_named_by_any_of_its_urls(written: str, name: str) -> None:
    desk = Desk()
    assert (await desk.endpoints.hold(written, 60, "moved", ANNA)).endpoint == name
    assert [hold.endpoint for hold in desk.endpoints.holds()] == [name]
    await desk.endpoints.release(written, ANNA)
    assert desk.endpoints.holds() == []


@pytest.mark.parametrize(
    ("endpoint", "seconds", "reason", "says"),
    [
        ("", 60, "moved", "endpoint: say which"),
        ("bank", 60, "moved", "endpoint: 'bank' has no port"),
        ("http://", 60, "moved", "has no host"),
        ("http://bank\n", 60, "moved", "endpoint: has a control character"),
        ("ftp://bank/x", 60, "moved", "has the scheme ftp"),
        (BANK, 0, "moved", "seconds: must be from 1 to"),
        (BANK, -5, "moved", "seconds: must be from 1 to"),
        (BANK, HOLD_SECONDS_MAX + 1, "moved", f"but is {HOLD_SECONDS_MAX + 1}"),
        (BANK, 60, "  ", "reason: say why"),
        (BANK, 60, "x" * 501, "reason: is too long: 501"),
        (BANK, 60, "a\0b", "reason: has a control character"),
    ],
)
@virtually
async def test_what_cannot_be_held_is_refused_with_the_field(
    endpoint: str, seconds: int, reason: str, says: str
) -> None:
    desk = Desk()
    with pytest.raises(Invalid) as refused:
        await desk.endpoints.hold(endpoint, seconds, reason, ANNA)
    assert says in refused.value.message
    assert (desk.rows.rows, desk.rows.records) == ({}, [])


@virtually
async def test_who_holds_and_releases_stands_in_the_record() -> None:
    desk = Desk()
    await desk.endpoints.hold(BANK, 60, "its rack is moved", ANNA)
    await desk.endpoints.hold(BANK, 3600, "takes longer", ANNA)
    await desk.endpoints.release(BANK, ANNA, "it is back")
    was = [(row["action"], row["target"], row["was"], row["became"]) for row in desk.records]
    assert was == [
        ("hold", BANK, "not held", "held until 2026-01-01 00:01:00 UTC: its rack is moved"),
        (
            "hold",
            BANK,
            "held until 2026-01-01 00:01:00 UTC: its rack is moved",
            "held until 2026-01-01 01:00:00 UTC: takes longer",
        ),
        ("release", BANK, "held until 2026-01-01 01:00:00 UTC: takes longer", "not held"),
    ]
    assert [(row["who"], row["reason"]) for row in desk.records][2] == ("anna", "it is back")


@virtually
async def test_what_is_not_held_cannot_be_released() -> None:
    desk = Desk()
    with pytest.raises(Failure, match="'http://bank:8080' is not held"):
        await desk.endpoints.release(BANK, ANNA)
    assert desk.records == []


@virtually
async def test_no_more_than_so_many_can_be_held() -> None:
    desk = Desk()
    for number in range(1, HOLDS_MAX + 1):
        await desk.endpoints.hold(f"http://bank:{number}", 60, "moved", ANNA)
    with pytest.raises(Failure, match="200 endpoints are held already"):
        await desk.endpoints.hold("http://one-more", 60, "moved", ANNA)
    await desk.endpoints.hold("http://bank:7", 120, "longer", ANNA)
    await desk.recorder.beat()
    [refused] = [dict(zip(row.columns, row.values, strict=True)) for row in desk.kept.rows]
    assert (refused["target"], refused["outcome"][:7]) == ("http://one-more:80", "refused")


@virtually
async def test_a_store_that_is_away_holds_nothing() -> None:
    desk = Desk()
    desk.rows.is_away = True
    with pytest.raises(StoreUnavailable):
        await desk.endpoints.hold(BANK, 60, "moved", ANNA)
    assert desk.endpoints.holds() == []


@virtually
async def test_a_preview_says_what_it_would_mean_and_changes_nothing() -> None:
    desk = Desk(tables=Tables())
    desk.bench.tools.admission.take(BANK)
    made = await desk.endpoints.preview("http://bank:8080/pay", 1800, "", "anna")
    words = " ".join(made.sentences)
    assert "No call to http://bank:8080 starts before 2026-01-01 00:30:00 UTC" in words
    assert "1 here" in words and "7 stuck" in words
    assert desk.endpoints.holds() == []
    await desk.endpoints.hold(BANK, 60, "moved", ANNA)
    again = await desk.endpoints.preview(BANK, 60, "", "anna")
    assert "It is held already, until 2026-01-01 00:01:00 UTC: moved" in again.sentences[-1]


@virtually
async def test_every_endpoint_with_what_is_known_of_it() -> None:
    desk = Desk(tables=Tables())
    desk.called.took("http://mail:80", Result.SUCCESS, 0.01, 1000.0)
    desk.called.took("etcd://e:2379/pay.rpc?user=anna&password=secret", Result.UNKNOWN, 3.0, 1000.0)
    desk.bench.tools.admission.take("http://mail:80")
    await desk.endpoints.hold("http://later", 60, "not there yet", ANNA)
    found = await desk.endpoints.all()
    assert [it.endpoint for it in found] == [
        BANK,
        "etcd://e:2379/pay.rpc",
        "http://later:80",
        "http://mail:80",
    ]
    bank, etcd, later, mail = found
    assert (bank.stuck and bank.stuck.count, [group.count for group in bank.errors]) == (7, [5, 2])
    assert etcd.lately is not None and etcd.lately.success_rate == 0
    assert later.hold is not None and later.hold.reason == "not there yet"
    assert (mail.door.running, mail.door.window) == (1, 50)
    assert mail.lately is not None and mail.lately.calls == 1


@virtually
async def test_one_endpoint_by_any_of_its_urls() -> None:
    desk = Desk(tables=Tables())
    bank = await desk.endpoints.one("http://bank:8080/pay")
    assert (bank.endpoint, bank.stuck) == (BANK, Waiting(BANK, 7, START))
    nobody = await desk.endpoints.one("http://nobody")
    assert (nobody.stuck, nobody.lately, nobody.hold, nobody.door.running) == (None, None, None, 0)
