"""Files of tests that wait are spread among those that keep a core busy."""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tests.support.order import TESTS, in_order


@dataclass(frozen=True)
class Case:
    path: Path
    number: int = 0


def test_files_that_wait_are_spread_among_the_others_and_never_last() -> None:
    waiting = [Case(TESTS / "chaos" / f"test_{number}.py") for number in range(10)]
    busy = [Case(TESTS / "unit" / f"test_{number}.py") for number in range(20)]
    order = in_order([*busy, *waiting])
    assert sorted(order, key=str) == sorted([*busy, *waiting], key=str)
    assert order[0] == waiting[0]
    runs = [len(list(run)) for is_busy, run in groupby(order, key=busy.__contains__) if not is_busy]
    assert max(runs) == 1, "two that wait, one after the other"
    assert order[-2:] == busy[-2:]


def test_the_longest_come_first_and_a_file_stays_together() -> None:
    unit, example = Case(TESTS / "unit" / "test_a.py"), Case(Path("/examples/test_b.py"))
    chaos = [Case(TESTS / "chaos" / "test_c.py", number) for number in (2, 1)]
    assert in_order([example, unit, *chaos]) == [*chaos, unit, example]
