"""Seeded histories of the real engine, recovery and service: DESIGN's promises hold in every one.

`make simulate SEED=7` replays one seed; SEEDS=1000 runs so many.
"""

import os
from collections import Counter

import pytest

from coordinator.drive import Drive
from coordinator.store.base import Assign
from tests.simulation.history import run_history

SEEDS = int(os.environ.get("SEEDS", "60"))
ONE_SEED = os.environ.get("SEED", "")


@pytest.mark.timeout(600)
def test_every_history_keeps_the_promises() -> None:
    marks: Counter[str] = Counter()
    for seed in [int(ONE_SEED)] if ONE_SEED else range(SEEDS):
        try:
            marks += run_history(seed).seen.marks
        except AssertionError as error:
            raise AssertionError(
                f"seed {seed}: {error}; replay it with: make simulate SEED={seed}"
            ) from error
    print(f"marks: {dict(marks)}")
    if not ONE_SEED:  # the histories really reached what they are there for
        for mark in (
            "crashed",
            "fenced",
            "hung",
            "answer lost",
            "ended succeed",
            "ended failed",
            "submit: success",
        ):
            assert marks[mark], f"no history reached: {mark}"


def test_the_invariants_notice_results_that_are_not_durable_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks can fail: when a result is written only at the end, a crash calls an earlier step again."""
    write = Drive._write

    async def forgetful(drive: Drive, assign: Assign) -> None:
        if assign != Assign():
            await write(drive, assign)

    monkeypatch.setattr(Drive, "_write", forgetful)
    with pytest.raises(AssertionError):
        for seed in range(60):
            run_history(seed)
