"""One driver's turn: what it writes when, and that it stops when the row is not its own (PROTOCOL §6, §9)."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from loguru import logger

from coordinator.backoff import Timing, after_round
from coordinator.calls.answers import grpc_answer, http_answer
from coordinator.calls.base import SUCCESS, Answer
from coordinator.calls.branch_urls import BranchUrls
from coordinator.calls.places import Places
from coordinator.engine.admission import Admission, Bounds
from coordinator.engine.alerts import Alerts, LoggedAlerts
from coordinator.engine.drive import Drive
from coordinator.engine.drives import Engine
from coordinator.engine.lease import Ended
from coordinator.engine.recovery import Recovery
from coordinator.engine.told import rollback_reason
from coordinator.engine.tools import Tools
from coordinator.errors import BranchAnswer, Busy, Failure, Stopping
from coordinator.model import EPOCH, Branch, Options, Result, Status, Step, Transaction, TransactionRequest
from coordinator.patterns import saga
from coordinator.service import build_operations
from coordinator.service.new_transaction import new_transaction
from coordinator.store.base import Assign, Change, Stored
from tests.simulation.twin import Rows, TwinStore
from tests.simulation.virtual_loop import run_virtually
from tests.simulation.world import CountingObserver, Seen, VirtualClock
from tests.unit.service.bench import Told

LOGGED = LoggedAlerts()

Behaviour = Callable[[Branch], Coroutine[Any, Any, Answer]]


class Scripted:
    """Branches that do what the test says, and remember who was called."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.called: list[str] = []
        self._behaviour = behaviour

    def endpoint(self, transaction: Transaction, branch: Branch) -> str:
        return branch.url

    async def call(self, transaction: Transaction, branch: Branch, *, timeout: float) -> Answer:
        self.called.append(f"{branch.op} {branch.branch_id}")
        return await self._behaviour(branch)

    async def close(self) -> None:
        pass


class Bench:
    """A service over the twin store and scripted branches, in virtual time."""

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        running_max: int = 100,
        alerts: Alerts = LOGGED,
        rows: Rows | None = None,
    ) -> None:
        self.rows = rows or Rows()
        self.held: list[float] = []  # seconds of lease left at each call, where a test notes them
        self.caller = Scripted(behaviour)
        self.store = TwinStore(self.rows, Random(1))
        observer = CountingObserver(Seen().marks)
        clock = VirtualClock()
        bounds = Bounds(transactions_max=running_max)
        self.admission = Admission(bounds, monotonic=clock.monotonic, random=Random(1))
        self.tools = Tools(
            *(self.store, self.caller, clock, Random(1), Timing()),
            *({"saga": saga}, observer, self.admission, alerts),
        )
        self.engine = Engine(self.tools, instance="a", start="1")
        self.recovery = Recovery(self.engine, interval=3)
        operations = build_operations(
            self.engine,
            urls=BranchUrls(Places()),
            random=Random(1),
            wake=self.recovery.wake,
            write_seconds=5,
            reset_seconds=105,
            topic_seconds=3,
        )
        self.transactions, self.operators = operations.transactions, operations.operators

    @property
    def row(self) -> Transaction:
        return self.rows.transactions["g"]


async def succeed(_branch: Branch) -> Answer:
    return SUCCESS


def request(steps: int = 2, **options: Any) -> TransactionRequest:
    step = Step("http://branch/do", "http://branch/undo")
    return TransactionRequest(
        "g", "saga", (step,) * steps, (b"{}",) * steps, options=Options(wait_result=True, **options)
    )


def test_a_saga_that_succeeds_lets_go_of_its_row() -> None:
    async def run() -> None:
        bench = Bench(succeed)
        await bench.transactions.submit(request())
        assert (bench.row.status, bench.row.owner) == (Status.SUCCEED, "")
        assert bench.caller.called == ["action 01", "action 02"]

    run_virtually(run())


def test_a_driver_whose_row_was_taken_stops_without_another_call() -> None:
    """PROTOCOL §9: fenced."""

    async def run() -> None:
        async def taken_meanwhile(branch: Branch) -> Answer:
            bench.rows.transactions["g"] = replace(bench.row, owner="b/1/1")
            return SUCCESS

        bench = Bench(taken_meanwhile)
        with pytest.raises(Failure):
            await bench.transactions.submit(request())
        assert bench.caller.called == ["action 01"]
        assert bench.row.owner == "b/1/1"

    run_virtually(run())


@pytest.mark.parametrize(("call_seconds", "write_seconds"), [(2.9, 0.0), (0.1, 8.0)])
def test_the_lease_is_renewed_before_a_call_that_could_outlast_it(
    call_seconds: float, write_seconds: float
) -> None:
    """PROTOCOL §9: no call starts unless the lease outlasts its time-out, whatever took so long before."""

    async def run() -> None:
        async def slow(_branch: Branch) -> Answer:
            bench.held.append((bench.row.next_cron_time - bench.tools.clock.now()).total_seconds())
            await asyncio.sleep(call_seconds)
            return SUCCESS

        bench = Bench(slow)
        with bench.engine.entry(()) as entry:
            bench.engine.start(*(await stored(bench)), entry)
        bench.store.change = slow_at_first(bench.store.change)  # type: ignore[method-assign]
        await bench.engine.round_ended("g", 60)
        assert min(bench.held) >= Timing().request_timeout
        assert bench.row.status is Status.SUCCEED

    def slow_at_first(change: Any) -> Any:
        seconds = [write_seconds]

        async def delayed(*asked: Any, **named: Any) -> Any:
            await asyncio.sleep(seconds.pop() if seconds else 0)
            return await change(*asked, **named)

        return delayed

    async def stored(bench: Bench) -> tuple[Stored, Any]:
        asked = request(12)
        owner = bench.engine.new_owner()
        lease = bench.engine.lease(owner, asked.options)
        transaction = new_transaction(bench.tools, asked, Status.SUBMITTED, owner)
        await bench.store.insert(transaction, saga.branches_of(asked), timeout=5)
        return Stored(transaction, saga.branches_of(asked)), lease

    run_virtually(run())


def test_an_unknown_result_doubles_the_interval_once_and_success_takes_it_back() -> None:
    """PROTOCOL §9."""

    async def run() -> None:
        answers = [Answer(Result.UNKNOWN)] * 2 + [Answer(Result.ONGOING)]

        async def behaviour(_branch: Branch) -> Answer:
            return answers.pop(0) if answers else SUCCESS

        bench = Bench(behaviour)
        with pytest.raises(Failure):
            await bench.transactions.submit(request(1))
        seen = [bench.row.next_cron_interval]
        looking = asyncio.create_task(bench.recovery.run())
        while not bench.row.status.is_final:
            await asyncio.sleep(1)
            if bench.row.next_cron_interval != seen[-1]:
                seen.append(bench.row.next_cron_interval)
        looking.cancel()
        assert seen == [20, 40]

    run_virtually(run())


@pytest.mark.parametrize(
    ("interval", "succeeded", "unknown", "expected"),
    [
        (10, False, True, 20),
        (160, False, True, 300),
        (300, False, True, 300),
        (40, False, False, 40),
        (40, True, False, 10),
        (40, True, True, 20),
    ],
)
def test_back_off_after_a_round(interval: int, succeeded: bool, unknown: bool, expected: int) -> None:
    """PROTOCOL §9: doubled, capped, kept, reset."""
    transaction = Transaction("g", "saga", Status.SUBMITTED, next_cron_interval=interval)
    assert after_round(Timing(), transaction, succeeded=succeeded, unknown=unknown) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(), 10),
        (Options(retry_interval=15), 15),
        (Options(timeout_to_fail=5), 5),
        (Options(timeout_to_fail=60), 10),
        (Options(retry_interval=2, timeout_to_fail=5), 2),
    ],
)
def test_the_first_interval(options: Options, expected: int) -> None:
    """PROTOCOL §9."""
    assert Timing().first_interval(options) == expected


def test_the_lease_outlasts_the_longest_call() -> None:
    """PROTOCOL §9: max(RetryInterval, request_timeout + 5 s)."""
    assert Timing().lease(Options()) == 10
    assert Timing().lease(Options(request_timeout=60)) == 65


@pytest.mark.parametrize("text", ["no money", "no money FAILURE", "x" * 5000, ""])
def test_a_rollback_reason_fits_its_column_and_ends_once(text: str) -> None:
    """PROTOCOL §6."""
    reason = rollback_reason("http://branch/do", text)
    assert len(reason) <= 1024
    assert reason.endswith(" FAILURE")
    assert not reason.endswith("FAILURE FAILURE")
    assert reason.startswith("url:http://branch/do return failed: ")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://ann:s3cret@branch/do?a=1", "http://ann:…@branch/do?a=1"),
        ("http://branch/do?token=s3cret", "http://branch/do?token=…"),
        ("etcd://h:2379/b?user=ann&password=s3cret", "etcd://h:2379/b?user=ann&password=…"),
    ],
)
def test_a_rollback_reason_and_an_alert_show_no_password(url: str, shown: str) -> None:
    """PROTOCOL §6: and `query` prints the reason."""
    assert rollback_reason(url, "no") == f"url:{shown} return failed: no FAILURE"


def test_a_stored_row_that_asks_for_more_than_is_allowed_is_driven_with_the_most() -> None:
    """PROTOCOL §9: rows that are older than the bound."""
    timing = Timing(request_timeout_max=300, option_seconds_max=1000)
    assert timing.call_timeout(Options(request_timeout=2**31 - 1)) == 300
    assert timing.call_timeout(Options(request_timeout=299)) == 299
    assert timing.call_timeout(Options()) == 3
    assert timing.lease(Options(request_timeout=2**31 - 1)) == 305
    assert timing.first_interval(Options(retry_interval=2**31 - 1)) == 1000
    assert Timing(request_timeout=600).call_timeout(Options(request_timeout=2**31 - 1)) == 600


def test_more_transactions_than_may_run_are_not_taken() -> None:
    async def run() -> None:
        async def slow(_branch: Branch) -> Answer:
            await asyncio.sleep(1)
            return SUCCESS

        bench = Bench(slow, running_max=1)
        running = asyncio.create_task(bench.transactions.submit(request()))
        await asyncio.sleep(0.5)
        with pytest.raises(Busy, match="the coordinator is full"):
            await bench.transactions.submit(replace(request(), gid="other"))
        assert "other" not in bench.rows.transactions
        await running

    run_virtually(run())


def test_one_that_must_take_no_work_refuses_so_that_another_is_asked_and_claims_nothing() -> None:
    async def run() -> None:
        bench = Bench(succeed)
        bench.engine.why_no_work = lambda: "another uses its name"
        with pytest.raises(Stopping, match="takes no more work: another uses its name"):
            await bench.transactions.submit(request())
        assert bench.rows.transactions == {}
        bench.engine.why_no_work = str
        await bench.transactions.submit(request())
        due = replace(bench.row, status=Status.SUBMITTED, next_cron_time=EPOCH)
        bench.rows.transactions["g"] = due
        bench.engine.why_no_work = lambda: "another uses its name"
        await bench.recovery.look()
        assert bench.engine.running == 0
        bench.engine.why_no_work = str
        await bench.recovery.look()
        assert bench.engine.running == 1

    run_virtually(run())


def test_a_stopping_engine_refuses_so_that_another_is_asked() -> None:
    async def run() -> None:
        bench = Bench(succeed)
        bench.engine.refuse_new()
        with pytest.raises(Stopping, match="the coordinator is stopping"):
            await bench.transactions.submit(request())
        assert bench.rows.transactions == {}

    run_virtually(run())


def test_submits_at_the_same_moment_start_no_more_than_may_run() -> None:
    """Each passed the look for room while the others were being stored, and all of them ran."""

    async def run() -> None:
        async def slow(_branch: Branch) -> Answer:
            most.append(bench.engine.running)
            await asyncio.sleep(1)
            return SUCCESS

        most: list[int] = []
        bench = Bench(slow, running_max=3)
        asked = [
            replace(request(), gid=str(number), steps=(Step(f"http://branch-{number}/do"),) * 2)
            for number in range(50)
        ]
        said = await asyncio.gather(*map(bench.transactions.submit, asked), return_exceptions=True)
        assert [type(it) for it in said if it is not None] == [Busy] * 47
        assert max(most) == 3
        assert len(bench.rows.transactions) == 3
        await bench.transactions.submit(replace(request(), gid="later"))

    run_virtually(run())


def test_a_change_after_the_end_is_refused() -> None:
    async def run() -> None:
        bench = Bench(succeed)
        await bench.transactions.submit(request())
        late = Change("g", frozenset({Status.SUBMITTED}), "a/1/1", assign=Assign(status=Status.ABORTING))
        assert (await bench.store.change(late, timeout=1)).value == "refused"

    run_virtually(run())


def test_a_drive_says_how_it_ended() -> None:
    async def run() -> None:
        bench = Bench(succeed)
        await bench.transactions.prepare(request())
        stored = await bench.store.find("g")
        assert stored is not None
        lease = bench.engine.lease(bench.row.owner, stored.transaction.options)
        ended: Ended = await Drive(bench.tools, stored, lease).run()
        assert ended.transaction.status is Status.PREPARED  # nobody drives a prepared saga
        assert bench.caller.called == []

    run_virtually(run())


def test_a_branch_that_goes_on_failing_is_reported_until_it_ends() -> None:
    """PROTOCOL §9: at the third failed round, and each one after it; then the end."""

    async def run() -> None:
        healthy = asyncio.Event()

        async def fail_until_healthy(_branch: Branch) -> Answer:
            return SUCCESS if healthy.is_set() else http_answer(503, b"boom")

        told = Told()
        bench = Bench(fail_until_healthy, alerts=told)
        with pytest.raises(Failure):
            await bench.transactions.submit(request(1))
        recovering = asyncio.create_task(bench.recovery.run())
        await asyncio.sleep(160)  # rounds at about 0, 10, 30, 70, 150
        assert [alert.retry_count for alert in told.alerts] == [3, 4]
        first = told.alerts[0]
        assert (first.gid, first.status) == ("g", "submitted")
        assert (first.branch, first.error) == ("http://branch/do", "boom (status 503)")
        assert first.code == "W15", "as the run-book has it"
        healthy.set()
        await asyncio.sleep(400)
        recovering.cancel()
        assert bench.row.status is Status.SUCCEED
        assert told.ends == [("g", "succeed", True)]

    run_virtually(run())


def test_the_end_is_reported_although_the_back_off_was_reset_and_another_coordinator_ends_it() -> None:
    """PROTOCOL §9: the row says that an alert was given."""

    async def run() -> None:
        healthy: set[str] = set()

        async def answer(branch: Branch) -> Answer:
            return SUCCESS if branch.branch_id in healthy else Answer(Result.UNKNOWN, "boom")

        bench = Bench(answer, alerts=(told := Told()))
        with pytest.raises(Failure):
            await bench.transactions.submit(request(2))
        recovering = asyncio.create_task(bench.recovery.run())
        await asyncio.sleep(100)
        assert [alert.retry_count for alert in told.alerts] == [3]
        healthy.add("01")
        while bench.row.next_cron_interval > 20:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(1)
        recovering.cancel()
        healthy.add("02")
        other = Bench(answer, alerts=(told_other := Told()), rows=bench.rows)
        recovering = asyncio.create_task(other.recovery.run())
        await asyncio.sleep(100)
        recovering.cancel()
        assert bench.row.status is Status.SUCCEED
        assert (told.ends, told_other.ends) == ([], [("g", "succeed", True)])

    run_virtually(run())


@pytest.mark.parametrize(("fails", "level"), [(False, "DEBUG"), (True, "INFO")])
def test_one_line_with_the_gid_says_how_a_transaction_ended(fails: bool, level: str) -> None:
    async def run() -> None:
        async def answer(branch: Branch) -> Answer:
            refused = fails and (branch.branch_id, branch.op) == ("02", "action")
            return Answer(Result.FAILURE, "no") if refused else SUCCESS

        written: list[Any] = []
        number = logger.add(lambda message: written.append(message.record), level="DEBUG")
        try:
            with contextlib.suppress(Failure):
                await Bench(answer).transactions.submit(request())
        finally:
            logger.remove(number)
        ended = [record for record in written if " after " in record["message"]]
        assert [(record["level"].name, record["extra"]["gid"]) for record in ended] == [(level, "g")]
        rolling = [record for record in written if record["message"].startswith("rolling back: url:")]
        assert len(rolling) == fails

    run_virtually(run())


@pytest.mark.parametrize(
    ("second", "named", "status", "told"),
    [
        (Answer(Result.FAILURE, '{"message":"no pear left"}', http_status=409), (), Status.FAILED, 409),
        (http_answer(422, b'{"message":"no pear left"}'), (422,), Status.FAILED, 422),
        (http_answer(422, b'{"message":"no pear left"}'), (), Status.SUBMITTED, 422),
        (Answer(Result.ONGOING, '{"message":"no pear left"}', 9), (), Status.SUBMITTED, 9),
    ],
)
def test_who_waits_is_told_which_branch_said_what(
    second: Answer, named: tuple[int, ...], status: Status, told: int
) -> None:
    async def run() -> None:
        async def answer(branch: Branch) -> Answer:
            if branch.op == "compensate" and branch.branch_id == "01" and status is Status.FAILED:
                return SUCCESS
            return second if (branch.branch_id, branch.op) == ("02", "action") else SUCCESS

        bench = Bench(answer)
        with pytest.raises(Failure) as caught:
            await bench.transactions.submit(request(failure_statuses=named))
        assert bench.row.status is status
        said = '{"message":"no pear left"}'
        assert caught.value.branch == BranchAnswer("http://branch/do", "02", "action", told, said)

    run_virtually(run())


def test_a_compensation_that_fails_is_not_what_the_transaction_failed_for() -> None:
    async def run() -> None:
        async def answer(branch: Branch) -> Answer:
            return Answer(Result.FAILURE, f"{branch.op} {branch.branch_id}", 10)

        with pytest.raises(Failure) as caught:
            await Bench(answer).transactions.submit(request())
        assert caught.value.branch is not None
        assert (caught.value.branch.op, caught.value.branch.said) == ("action", "action 01")

    run_virtually(run())


@pytest.mark.parametrize(
    ("answer", "level", "code"),
    [
        (http_answer(422, b"{}"), "ERROR", "W17"),
        (http_answer(404, b""), "ERROR", "W14"),
        (http_answer(503, b""), "WARNING", "W15"),
        (http_answer(429, b""), "WARNING", "W15"),
        (grpc_answer(3, "no such field"), "ERROR", "W17"),
        (grpc_answer(14, "away"), "WARNING", "W15"),
        (http_answer(425, b""), "INFO", "W21"),
    ],
)
def test_a_branch_that_refuses_the_request_itself_is_an_error_at_once(
    answer: Answer, level: str, code: str
) -> None:
    async def run() -> None:
        async def refuse(_: Branch) -> Answer:
            return answer

        written: list[Any] = []
        number = logger.add(lambda message: written.append(message.record), level="DEBUG")
        try:
            with contextlib.suppress(Failure):
                await Bench(refuse).transactions.submit(request(1))
        finally:
            logger.remove(number)
        [line] = [record for record in written if record["message"].startswith("no result from")]
        assert line["level"].name == level
        assert line["extra"]["code"] == code, "by which the run-book knows it"
        assert ("failure_statuses" in line["message"]) == (level == "ERROR")

    run_virtually(run())
