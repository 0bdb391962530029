"""What the service knows beside the rows comes into the reason: places, held endpoints, clocks."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from coordinator.access.recorder import unrecorded
from coordinator.calls.branch_urls import BranchUrls
from coordinator.calls.places import Places
from coordinator.hold import Hold
from coordinator.model import Status
from coordinator.service.acting import Acting
from coordinator.service.lookup import Lookup
from coordinator.service.operate import Operate
from coordinator.store.base import Stored
from coordinator.store.fleet import Roll
from coordinator.store.operate_tables import Shown
from tests.simulation.rows import START
from tests.simulation.virtual_loop import run_virtually
from tests.unit.service.bench import Bench


class Tables:
    """One transaction, that nobody has tried yet."""

    def __init__(self, bench: Bench) -> None:
        self._rows = bench.rows

    async def show(self, gid: str) -> Shown:
        return Shown(Stored(self._rows.transactions[gid], self._rows.branches[gid]), ())


def hold(bench: Bench) -> None:
    hold = Hold("http://branch/action", "its rack is moved", "anna", START, START + timedelta(hours=1))
    bench.tools.admission.hold(hold, 3600)


def strange(bench: Bench) -> None:
    bench.rows.transactions["g"] = replace(bench.row, trans_type="strange")


def nothing(_: Bench) -> None:
    pass


def operate_of(bench: Bench, *, roll: Roll | None = None, apart: float = 0.0) -> Operate:
    recorder = unrecorded(bench.tools.clock)
    return Operate(
        bench.first.engine,
        Lookup(bench.tools.store, seconds=5),
        BranchUrls(Places()),
        recorder,
        Acting(bench.first.engine, recorder, write_seconds=5, wake=lambda: None),
        tables=Tables(bench),
        nodes=None,
        roll=lambda: roll,
        clocks_apart=lambda: apart,
    )


@pytest.mark.parametrize(
    ("first", "apart", "code"),
    [(hold, 0.0, "W06"), (nothing, 61.0, "W31"), (nothing, 1.0, "W08"), (strange, 0.0, "W33")],
)
def test_the_reason(first: Callable[[Bench], None], apart: float, code: str) -> None:
    async def run() -> str:
        bench = Bench()
        await bench.put("saga", Status.SUBMITTED, next_cron_time=START)
        bench.rows.transactions["g"] = replace(bench.row, owner="")
        first(bench)
        return (await operate_of(bench, apart=apart).show("g")).why.code.id

    assert run_virtually(run()) == code


@pytest.mark.parametrize(("seconds", "code"), [(-10, "W01"), (0, "W01"), (10, "W02")])
def test_who_may_have_come_since_everybody_was_counted_is_not_said_to_be_gone(
    seconds: int, code: str
) -> None:
    """seconds: after the row was written everybody was counted, and its driver was not there."""

    async def run() -> str:
        bench = Bench()
        await bench.put("saga", Status.SUBMITTED, next_cron_time=START + timedelta(hours=1))
        bench.rows.transactions["g"] = replace(bench.row, owner="other/1/1", update_time=START)
        roll = Roll(START + timedelta(seconds=seconds), ())
        return (await operate_of(bench, roll=roll).show("g")).why.code.id

    assert run_virtually(run()) == code
