"""Sagas whose steps use what others have answered, against a plain model, through crashes at every commit."""

from collections import Counter
from typing import Any

import orjson
import pytest

from coordinator.model import BranchStatus, Op, Place, Step, TransactionRequest
from coordinator.results import path_of, value_at
from tests.simulation.branches import answer_of
from tests.simulation.history import run_history
from tests.simulation.world import World

HISTORIES = 40


def given(payload: bytes, places: tuple[Place, ...], answers: dict[int, bytes]) -> Any:
    """What a call should be given: places[n].at is `$.of[step]`; null for what was not answered."""
    value = orjson.loads(payload)
    for place in places:
        answer = answers.get(place.step)
        value["of"][place.step] = (
            None if answer is None else value_at(orjson.loads(answer), path_of(place.path))
        )
    return value


def answers_of(request: TransactionRequest) -> dict[int, bytes]:
    """What each step that keeps its result would answer, were it called."""
    answers: dict[int, bytes] = {}
    for number, (step, payload) in enumerate(zip(request.steps, request.payloads, strict=True)):
        if step.keep_result:
            sent = orjson.dumps(given(payload, step.from_results, answers))
            answers[number] = answer_of(f"{number + 1:02d}", sent)
    return answers


def check_results(world: World) -> None:
    for gid, branches in world.rows.branches.items():
        story = world.stories.get(gid)
        if story is None or not gid.startswith("results-"):
            continue
        done = {it.branch_id for it in branches if it.op == Op.ACTION and it.status is BranchStatus.SUCCEED}
        answers = answers_of(story.request)
        there = {it: answer for it, answer in answers.items() if f"{it + 1:02d}" in done}
        kept = {int(name) - 1: orjson.loads(one) for name, one in world.rows.results(gid).items()}
        assert kept == {it: orjson.loads(answer) for it, answer in there.items()}, gid
        for number, step in enumerate(story.request.steps):
            check_calls(world, gid, number, step, story.request.payloads[number], answers, there)


def check_calls(
    world: World,
    gid: str,
    number: int,
    step: Step,
    payload: bytes,
    answers: dict[int, bytes],
    there: dict[int, bytes],
) -> None:
    name = f"{number + 1:02d}"
    undo = step.compensate_payload or b""
    wanted = {
        Op.ACTION: given(payload, step.from_results, answers),
        Op.COMPENSATE: given(undo, step.compensate_from_results, there),
    }
    for op, value in wanted.items():
        seen = world.seen.payloads.get((gid, (name, op)), set())
        assert [orjson.loads(one) for one in seen] in ([], [value]), (gid, name, op)
        world.seen.marks[f"{op} with a result"] += bool(seen) and value != orjson.loads(undo or payload)


@pytest.mark.usefixtures("quiet")
def test_every_call_is_given_what_the_steps_before_it_have_answered(seed: int) -> None:
    marks: Counter[str] = Counter()
    for number in range(seed, seed + HISTORIES):
        world = run_history(number, trans_types="results results results saga msg")
        check_results(world)
        marks += world.seen.marks
    for mark in ("crashed", "fenced", "action with a result", "compensate with a result"):
        assert marks[mark], f"no history reached: {mark}"
