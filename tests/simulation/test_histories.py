"""Seeded histories of the real engine, recovery and service: the promises hold in every one.

`make simulate SEED=7` replays from one seed.
"""

from collections import Counter
from collections.abc import Iterator

import pytest
from loguru import logger

from coordinator.drive import Drive
from coordinator.store.base import Assign
from tests.simulation.history import run_history

HISTORIES = 60
REACHED = ("crashed", "fenced", "hung", "answer lost", "ended succeed", "ended failed", "submit: success")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logger.disable("coordinator")
    yield
    logger.enable("coordinator")


@pytest.mark.timeout(600)
def test_every_history_keeps_the_promises(seed: int) -> None:
    """The run's seed is the first history, others follow: a failure names the one to replay."""
    marks: Counter[str] = Counter()
    for number in range(seed, seed + HISTORIES):
        try:
            marks += run_history(number).seen.marks
        except AssertionError as error:
            raise AssertionError(f"{error}; replay it with: make simulate SEED={number}") from error
    for mark in REACHED:
        assert marks[mark], f"no history reached: {mark}"


def test_the_invariants_notice_results_that_are_not_durable_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks can fail: when a result is written only at the end, a crash calls an earlier step again."""
    write = Drive._write

    async def forgetful(drive: Drive, assign: Assign) -> None:
        if assign != Assign():
            await write(drive, assign)

    monkeypatch.setattr(Drive, "_write", forgetful)
    with pytest.raises(AssertionError):
        for number in range(60):
            run_history(number)
