"""What went wrong with branches is kept in the commits of the round itself; what goes well writes nothing."""

import asyncio
import contextlib
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from coordinator.attempt import SECONDS_A_ROW, Kind, notes_of
from coordinator.calls.answers import http_answer, unknown
from coordinator.calls.base import SUCCESS, Answer
from coordinator.engine.attempts import Keeping, Kept, NotKept, RoundNotes
from coordinator.errors import DtmError
from coordinator.model import Branch, Result, Status
from coordinator.store.base import Change, Changed
from coordinator.store.own_rows import OwnRow
from coordinator.telemetry.secrets import Secrets
from tests.simulation.virtual_loop import run_virtually
from tests.unit.engine.test_drive import Behaviour, Bench, request, succeed

FAILURE = http_answer(409, b'{"dtm_result":"FAILURE","message":"no money"}')
BROKEN = http_answer(500, b"out of order 17")
FAR = unknown("nobody there", Kind.REFUSED)


class Loud:
    """Nobody may ask for notes."""

    def notes(self) -> RoundNotes:
        raise AssertionError("something was made for a call that went well")


class KeptBench(Bench):
    """A bench that keeps what went wrong, and every change that was asked for."""

    def __init__(self, behaviour: Behaviour, keeping: Keeping | None = None, **options: Any) -> None:
        super().__init__(behaviour, **options)
        keeping = keeping or Kept(Secrets(["swordfish"]).hidden, "here")
        self.tools = replace(self.tools, keeping=keeping)
        self.engine._tools = self.tools
        self.changes: list[Change] = []
        inner = self.store.change

        async def change(change: Change, *, timeout: float) -> Changed:
            self.changes.append(change)
            return await inner(change, timeout=timeout)

        self.store.change = change  # type: ignore[method-assign]

    async def submit(self, **options: Any) -> None:
        with contextlib.suppress(DtmError):  # the row says how it ended
            await self.transactions.submit(request(**options))

    async def go_on(self, seconds: float) -> None:
        """Let recovery work for so long."""
        recovery = asyncio.create_task(self.recovery.run())
        await asyncio.sleep(seconds)
        recovery.cancel()
        await asyncio.gather(recovery, return_exceptions=True)

    def attempts(self) -> list[dict[str, Any]]:
        """The rows of dtm_attempt, by branch, op and number."""
        rows = [named(row) for row in self.rows.own.get("dtm_attempt", {}).values()]
        return sorted(rows, key=lambda it: (it["branch_id"], it["op"], it["number"]))

    def stuck(self) -> list[dict[str, Any]]:
        return [named(row) for row in self.rows.own.get("dtm_stuck", {}).values()]


def named(row: OwnRow) -> dict[str, Any]:
    return dict(zip(row.columns, row.values, strict=True))


def says(answers: Iterator[Answer]) -> Behaviour:
    async def answer(_branch: Branch) -> Answer:
        await asyncio.sleep(0.25)
        return next(answers, SUCCESS)

    return answer


def picked(rows: Sequence[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


def test_a_saga_that_goes_well_builds_nothing_and_writes_not_one_change_more() -> None:
    async def changes_of(keeping: Keeping) -> list[Change]:
        bench = KeptBench(succeed, keeping)
        await bench.submit(steps=3)
        assert bench.row.status is Status.SUCCEED
        assert bench.rows.own_history == []
        return bench.changes

    async def run() -> None:
        assert await changes_of(Loud()) == await changes_of(NotKept())

    run_virtually(run())


def test_failure_is_kept_in_the_very_change_that_rolls_back() -> None:
    async def run() -> None:
        bench = KeptBench(says(iter([SUCCESS, FAILURE])))
        await bench.submit()
        assert bench.row.status is Status.FAILED
        with_rows = [change for change in bench.changes if change.own_rows]
        assert [change.assign.status for change in with_rows] == [Status.ABORTING]
        assert picked(bench.attempts(), "branch_id", "op", "number", "place", "times", "result") == [
            ("02", "action", 1, 0, 1, "failure")
        ]
        [attempt] = bench.attempts()
        assert (attempt["kind"], attempt["status"], attempt["milliseconds"]) == ("failure", 409, 250)
        assert attempt["answer"] == '{"dtm_result":"FAILURE","message":"no money"}'
        assert (attempt["last"] - attempt["began"]).total_seconds() == 0.25
        assert (attempt["coordinator"], attempt["url"]) == ("here", "http://branch/do")
        assert bench.stuck() == []
        assert bench.row.ext_data == ""

    run_virtually(run())


def test_what_is_held_up_is_stuck_until_it_goes_on() -> None:
    async def run() -> None:
        bench = KeptBench(says(iter([BROKEN, BROKEN])))
        await bench.submit()
        [stuck] = bench.stuck()
        assert picked([stuck], "gid", "branch_id", "op", "endpoint", "kind", "status") == [
            ("g", "01", "action", "http://branch/do", "status", "submitted")
        ]
        assert stuck["fingerprint"] == "status 500: out of order #"
        assert stuck["error"] == "out of order 17"
        await bench.go_on(100)
        assert bench.row.status is Status.SUCCEED
        assert bench.stuck() == []
        assert picked(bench.attempts(), "number", "times", "status") == [(1, 2, 500)]

    run_virtually(run())


def test_equal_attempts_that_follow_each_other_are_counted() -> None:
    async def run() -> None:
        bench = KeptBench(says(iter([BROKEN, http_answer(500, b"out of order 18"), FAR, FAR, BROKEN])))
        await bench.submit()
        await bench.go_on(1000)
        assert picked(bench.attempts(), "number", "kind", "times") == [
            (1, "status", 2),
            (2, "refused", 2),
            (3, "status", 1),
        ]

    run_virtually(run())


def differing(status: int = 500) -> Iterator[Answer]:
    """An error of its own each time, not only in its digits."""
    for number in itertools.count():
        word = "".join("klmnopqrst"[int(digit)] for digit in str(number))
        yield http_answer(status, f"error {word}".encode())


def in_pairs() -> Iterator[Answer]:
    for answer in differing():
        yield from (answer, answer)


def test_the_first_three_and_the_last_seventeen_are_kept() -> None:
    async def run() -> None:
        bench = KeptBench(says(itertools.islice(differing(425), 40)))
        await bench.submit(retry_interval=900)
        await bench.go_on(40_000)
        assert bench.row.status is Status.SUCCEED
        assert [it["number"] for it in bench.attempts()] == [1, 2, 3, *range(24, 41)]

    run_virtually(run())


@pytest.mark.parametrize(
    ("answers", "interval", "calls_min"),
    [
        pytest.param(itertools.repeat(BROKEN), 10, 30, id="one error"),
        pytest.param(itertools.repeat(http_answer(425, b"ONGOING")), 10, 900, id="not finished"),
        pytest.param(itertools.cycle([BROKEN, FAR]), 10, 30, id="two that take turns"),
        pytest.param(differing(), 10, 30, id="another each time"),
        pytest.param(in_pairs(), 10, 30, id="another every other time"),
        pytest.param(differing(425), 10, 900, id="not finished, and another each time"),
    ],
)
def test_three_hours_of_failing_write_at_most_thirty_rows(
    answers: Iterator[Answer], interval: int, calls_min: int
) -> None:
    """10,000 transactions: 300,000."""

    async def run() -> None:
        bench = KeptBench(says(answers))
        await bench.submit(retry_interval=interval)
        await bench.go_on(3 * 3600)
        assert bench.row.status is Status.SUBMITTED
        assert len(bench.caller.called) >= calls_min
        assert len(bench.rows.own_history) <= 30
        [tried] = notes_of(bench.row.ext_data).tried.values()
        assert sum(it["times"] for it in bench.attempts()[:-1]) + tried.times <= len(bench.caller.called)

    run_virtually(run())


@pytest.mark.parametrize("one", [True, False])
def test_an_error_that_stays_is_told_whatever_came_before(one: bool) -> None:
    """At once where one error was counted before, within a quarter of an hour where others took turns."""

    async def run() -> None:
        others = itertools.repeat(http_answer(425, b"ONGOING")) if one else differing(425)
        answers = itertools.chain(itertools.islice(others, 200), itertools.repeat(FAR))
        bench = KeptBench(says(answers))
        await bench.submit(retry_interval=10)
        await bench.go_on(200 * 15 + (30 if one else SECONDS_A_ROW))
        assert bench.attempts()[-1]["answer"].startswith("nobody there")
        assert bench.stuck()[0]["error"].startswith("nobody there")

    run_virtually(run())


def test_the_count_in_between_is_remembered_by_the_transaction() -> None:
    async def run() -> None:
        async def failing(_branch: Branch) -> Answer:
            return BROKEN

        bench = KeptBench(failing)
        await bench.submit()
        await bench.go_on(5_000)
        [tried] = notes_of(bench.row.ext_data).tried.values()
        assert tried.times == len(bench.caller.called)
        [attempt] = bench.attempts()
        assert attempt["times"] <= tried.times < 2 * attempt["times"]

    run_virtually(run())


def test_where_two_errors_take_turns_the_transaction_is_not_called_stuck_anew_each_time() -> None:
    async def run() -> None:
        def turns() -> Iterator[Answer]:
            while True:
                yield BROKEN
                yield FAR

        bench = KeptBench(says(turns()))
        await bench.submit()
        await bench.go_on(2_000)
        stuck = [row for row in bench.rows.own_history if row.table == "dtm_stuck"]
        assert len(stuck) == 1

    run_virtually(run())


def test_of_more_branches_than_a_transaction_remembers_the_others_are_told_once() -> None:
    async def run() -> None:
        async def failing(branch: Branch) -> Answer:
            await asyncio.sleep(37 * (int(branch.branch_id) + len(bench.caller.called)) % 97 / 100)
            return BROKEN

        bench = KeptBench(failing)
        await bench.submit(steps=60, concurrent=True)
        await bench.go_on(3600)
        rounds = len(bench.caller.called) // 60
        assert rounds > 10
        written = [row for row in bench.rows.own_history if row.table == "dtm_attempt"]
        assert len(written) <= 60 + 24 * 6  # at 1, then at 2, 3, 4, 6, 8, 12
        told = sorted(it["times"] for it in bench.attempts())
        assert told[:36] == [1] * 36
        assert all(rounds / 2 < times <= rounds for times in told[36:])

    run_virtually(run())


def test_repeats_within_a_round_count_too() -> None:
    async def run() -> None:
        bench = KeptBench(says(iter([BROKEN] * 3)))
        await bench.submit(steps=1, retry_limit=2)
        assert bench.row.status is Status.FAILED
        assert picked(bench.attempts(), "op", "times") == [("action", 3)]

    run_virtually(run())


@pytest.mark.parametrize("concurrent", [False, True])
def test_a_compensation_that_fails_is_told_beside_what_failed_before(concurrent: bool) -> None:
    async def run() -> None:
        async def answer(branch: Branch) -> Answer:
            if branch.op == "compensate":
                return BROKEN
            return FAILURE if branch.branch_id == "02" else SUCCESS

        bench = KeptBench(answer)
        await bench.submit(concurrent=concurrent)
        assert bench.row.status is Status.ABORTING
        assert ("02", "action", "failure") in picked(bench.attempts(), "branch_id", "op", "result")
        [stuck] = bench.stuck()
        assert (stuck["op"], stuck["status"]) == ("compensate", "aborting")

    run_virtually(run())


def test_answers_are_kept_without_secrets_and_cut_to_two_kilobytes() -> None:
    async def run() -> None:
        text = "password=hunter2 and swordfish\x1b[31m\x00\n" + "ü" * 5000
        bench = KeptBench(says(iter([http_answer(500, text.encode())])))
        await bench.submit(steps=1)
        [attempt] = bench.attempts()
        assert attempt["answer"].startswith("password=… and …\\x1b[31m\\x00\nüü")
        assert 2046 <= len(attempt["answer"].encode()) <= 2048

    run_virtually(run())


def test_a_call_that_our_own_stop_ended_is_no_attempt() -> None:
    async def run() -> None:
        bench = KeptBench(says(iter([unknown("the coordinator is stopping", Kind.STOPPING)])))
        await bench.submit(steps=1)
        assert bench.rows.own_history == []

    run_virtually(run())


def test_where_there_are_no_tables_nothing_is_written() -> None:
    async def run() -> None:
        bench = KeptBench(says(iter([BROKEN])), NotKept())
        await bench.submit()
        assert bench.rows.own_history == []
        assert notes_of(bench.row.ext_data).tried == {}

    run_virtually(run())


KINDS: Collection[tuple[Answer, Kind]] = [
    (FAILURE, Kind.FAILURE),
    (http_answer(425, b""), Kind.ONGOING),
    (BROKEN, Kind.STATUS),
    (unknown("late", Kind.TIMEOUT), Kind.TIMEOUT),
    (Answer(Result.UNKNOWN, "nothing"), Kind.BROKEN),
    (Answer(Result.UNKNOWN, "away", 14, cause=Kind.REFUSED), Kind.REFUSED),
]


@pytest.mark.parametrize(("answer", "kind"), KINDS)
def test_the_kind_of_an_answer(answer: Answer, kind: Kind) -> None:
    assert answer.kind is kind
