"""A workflow whose process dies at each of its moments, on every store: each effect once (§7)."""

from random import Random

import pytest

from coordinator.backoff import Timing
from coordinator.calls.branch_urls import BranchUrls
from coordinator.calls.places import Places
from coordinator.clock import SystemClock
from coordinator.engine.admission import Admission, Bounds
from coordinator.engine.drives import Engine
from coordinator.engine.tools import Tools
from coordinator.patterns.by_type import PATTERNS
from coordinator.service import Operations, build_operations
from coordinator.store.sql import SqlStore
from tests.simulation.world import CountingObserver, Seen
from tests.support.generated_workflows import AtOnce, Child, Do, Draw, Program, Sleep, World, expected, play
from tests.unit.service.bench import Scripted, succeed

GOOD: Program = (
    Do("first"),
    Draw(),
    AtOnce(((Do("a"), Sleep(20), Do("b")), (Do("c"),))),
    Child((Do("e"), Do("f", fails=True))),
    Do("last"),
)


def operations_over(store: SqlStore) -> Operations:
    clock = SystemClock()
    tools = Tools(
        store,
        Scripted(succeed),
        clock,
        Random(1),
        Timing(),
        PATTERNS,
        CountingObserver(Seen().marks),
        Admission(Bounds(), monotonic=clock.monotonic, random=Random(1)),
    )
    return build_operations(
        Engine(tools, instance="kills", start="1"),
        urls=BranchUrls(Places()),
        random=Random(1),
        wake=lambda: None,
        write_seconds=20,
        reset_seconds=105,
        topic_seconds=3,
    )


@pytest.mark.parametrize("program", [GOOD, (*GOOD, Do("no", fails=True))], ids=["ends", "rolled-back"])
async def test_killed_at_every_moment_on_every_store(store: SqlStore, program: Program) -> None:
    operations = operations_over(store)
    whole, moments = await play(World(operations), program, [], gid="whole")
    assert whole == expected(program)
    for kill in range(0, moments, 1 if program is GOOD else 3):
        ended, _ = await play(World(operations), program, [kill], gid=f"killed-{kill}")
        assert ended == whole, kill
