"""Seeded histories of the real engine, recovery and service: the promises hold in every one.

`make simulate SEED=7` replays from one seed.
"""

from collections import Counter

import pytest

from tests.simulation.history import run_history

HISTORIES = 150
REACHED = (
    "crashed",
    "fenced",
    "hung",
    "paused",
    "answer lost",
    "operator: success",
    "register refused",
    "queried: committed",
    "queried: not committed",
    "workflow went on",
    "endpoint hung",
    "window full",
    "house full",
    "turned away",
    "deferred",
    "claimed before it was due",
    "held",
    "released",
    "stranger left alone",
    "purged",
    *(f"{wish}: success" for wish in ("prepare", "submit", "abort")),
    *(f"{kind} client died" for kind in ("msg", "tcc", "xa", "workflow")),
    *(
        f"{kind} ended {end}"
        for kind in ("saga", "msg", "tcc", "xa", "workflow")
        for end in ("succeed", "failed")
    ),
)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("quiet")
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


@pytest.mark.usefixtures("quiet")
def test_a_seed_is_one_history(seed: int) -> None:
    """What fails can be replayed."""
    one, other = run_history(seed), run_history(seed)
    assert one.rows.history == other.rows.history
    assert one.seen.calls == other.seen.calls
