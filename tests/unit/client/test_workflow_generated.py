"""Generated workflows, killed at any moment, against a plain model: each effect once, results equal (§7)."""

from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.model import Status
from tests.simulation.virtual_loop import run_virtually
from tests.support.generated_workflows import (
    AtOnce,
    Child,
    Do,
    Draw,
    Ended,
    Patched,
    Program,
    Sleep,
    World,
    expected,
    play,
    without_patches,
)
from tests.unit.service.bench import Bench


def programs(*, patches: bool = False) -> st.SearchStrategy[Program]:
    """Of any shape; each step has a name of its own."""
    step = st.one_of(
        st.builds(Do, st.just("?"), st.sampled_from([False, False, False, False, True])),
        st.builds(Sleep, st.sampled_from([0, 20, 3600])),
        st.just(Draw()),
    )

    def extended(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        chain = st.lists(inner, max_size=3).map(tuple)
        kinds: list[st.SearchStrategy[Any]] = [
            st.builds(AtOnce, st.lists(chain, max_size=3).map(tuple)),
            st.builds(Child, chain),
        ]
        if patches:
            kinds.append(st.builds(Patched, st.just("?"), chain))
        return st.one_of(kinds)

    whole = st.lists(st.recursive(step, extended, max_leaves=8), max_size=4).map(tuple)
    return whole.map(lambda program: named(program, count()))


def named(program: Program, numbers: Any) -> Program:
    steps: list[Any] = []
    for step in program:
        match step:
            case Do(_, fails):
                steps.append(Do(f"s{next(numbers)}", fails))
            case AtOnce(chains):
                steps.append(AtOnce(tuple(named(chain, numbers) for chain in chains)))
            case Child(inner):
                steps.append(Child(named(inner, numbers)))
            case Patched(_, inner):
                steps.append(Patched(f"p{next(numbers)}", named(inner, numbers)))
            case _:
                steps.append(step)
    return tuple(steps)


def played(program: Program, kills: list[int], then: Program | None = None) -> tuple[Ended, int]:
    async def run() -> tuple[Ended, int]:
        return await play(World(Bench().first.operations), program, kills, then=then)

    return run_virtually(run())


@settings(max_examples=40)
@given(program=programs(patches=True), kills=st.lists(st.integers(0, 40), max_size=4))
def test_it_ends_as_it_reads_wherever_its_processes_die(program: Program, kills: list[int]) -> None:
    ended, _ = played(program, kills)
    assert ended == expected(program)


@settings(max_examples=25)
@given(program=programs(patches=True), kill=st.integers(0, 40))
def test_a_change_counts_whole_or_not_at_all(program: Program, kill: int) -> None:
    """Each patch is taken or not: of the code before it nothing is lost, and nothing is done twice."""
    before = without_patches(program)
    ended, _ = played(before, [kill], then=program)
    assert len(set(ended.effects)) == len(ended.effects)
    if not any_failure(program):
        assert ended.status is Status.SUCCEED
        names = {name for name in ended.result if name != "another way"}
        assert names >= set(expected(before).result) - {"another way"}
        assert names <= set(expected(program).result)


def any_failure(program: Program) -> bool:
    return "fails=True" in repr(program)


FIXED: Program = (
    Do("first"),
    Draw(),
    AtOnce(((Do("a"), Sleep(20), Do("b")), (Do("c"), Do("d")))),
    Child((Do("e"), Do("f", fails=True))),
    Sleep(3600),
    Do("last"),
)


def test_killed_at_every_moment() -> None:
    whole, moments = played(FIXED, [])
    assert whole == expected(FIXED)
    assert moments > 50
    for program in (FIXED, (*FIXED, Do("no", fails=True))):
        for kill in range(moments):
            assert played(program, [kill])[0] == expected(program), kill
