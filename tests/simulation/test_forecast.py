"""What is forecast is what the engine then does: the same calls, at the same time, to the same end.

The real engine and recovery run in virtual time over rows of every pattern, with branches that answer what
was drawn for them. Nothing is left to chance: no back-off is lengthened, and each whole second has its look.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random

import hypothesis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.backoff import Timing
from coordinator.calls.base import Answer
from coordinator.engine.admission import Admission, Bounds
from coordinator.engine.drives import Engine
from coordinator.engine.recovery import Recovery
from coordinator.engine.tools import Tools
from coordinator.explain.actions import Action, SkipReason, allowed_actions, branches_to_skip, changed
from coordinator.explain.forecast import all_succeed, forecast, goes_on, taken_up_at
from coordinator.explain.play import (
    SUCCESS,
    Called,
    CutOff,
    Event,
    LeftToClient,
    Moved,
    Rested,
    Rows,
    Supposed,
    play,
)
from coordinator.explain.preview import Fate, preview
from coordinator.hold import Hold
from coordinator.model import (
    Branch,
    BranchKey,
    BranchStatus,
    Op,
    Options,
    Result,
    Status,
    Step,
    Transaction,
    TransactionRequest,
    TransType,
)
from coordinator.patterns import msg, saga
from coordinator.patterns.by_type import PATTERNS
from tests.simulation.rows import START
from tests.simulation.rows import Rows as Database
from tests.simulation.twin import TwinStore
from tests.simulation.virtual_loop import run_virtually
from tests.simulation.world import CountingObserver, Seen, VirtualClock

TIMING = Timing()
PLAYED_SECONDS = 1000
DRAWS_MAX = 6  # hundreds of examples each
Made = tuple[datetime, BranchKey, bytes]  # one call: when, of which row, with what
Answers = dict[BranchKey, list[Supposed]]
NOT_CALLED = {
    Fate.NOT_CALLED,
    Fate.SKIPPED,
    Fate.STAYS,
    Fate.MAY_STAY,
    Fate.HELD,
    Fate.IN_DOUBT,
    Fate.IS_UNDONE,
}


class NoChance(Random):
    """Lengthens nothing."""

    def random(self) -> float:
        return 0.0


def scripted(answers: Answers, branch: Branch, asked: dict[BranchKey, int]) -> Supposed:
    """What was drawn for this call; after the last of them, success."""
    drawn, number = answers.get(branch.key, []), asked.get(branch.key, 0)
    asked[branch.key] = number + 1
    return drawn[number] if number < len(drawn) else SUCCESS


@dataclass
class Engines:
    """One coordinator over one transaction, until that ends or enough time has passed."""

    rows: Rows
    answers: Answers
    database: Database = field(default_factory=Database)
    made: list[Made] = field(default_factory=list)
    asked: dict[BranchKey, int] = field(default_factory=dict)
    held: Mapping[str, float] = field(default_factory=dict)  # seconds for which endpoints are, from the start

    def endpoint(self, transaction: Transaction, branch: Branch) -> str:
        return branch.url

    async def call(self, transaction: Transaction, branch: Branch, *, timeout: float) -> Answer:
        if not branch.url:
            return Answer(Result.SUCCESS)
        self.made.append((VirtualClock().now(), branch.key, branch.payload))
        supposed = scripted(self.answers, branch, self.asked)
        if supposed.seconds:
            await asyncio.sleep(supposed.seconds)
        if transaction.trans_type == TransType.WORKFLOW and supposed.result in (
            Result.SUCCESS,
            Result.FAILURE,
        ):
            row = self.database.transactions[transaction.gid]  # its client ends it, then answers
            ended = replace(row, status=Status.SUCCEED, owner="")
            self.database.commit(ended, self.database.branches[transaction.gid], by="client")
        return Answer(supposed.result)

    async def close(self) -> None:
        pass

    @property
    def row(self) -> Transaction:
        return self.database.transactions["g"]

    def run(self) -> None:
        run_virtually(self._run())

    async def _run(self) -> None:
        self.database.add(self.rows.transaction, self.rows.branches, by="insert")
        clock, chance = VirtualClock(), NoChance()
        admission = Admission(Bounds(), monotonic=clock.monotonic, random=chance)
        for endpoint, seconds in self.held.items():
            until = START + timedelta(seconds=seconds)
            admission.hold(Hold(endpoint, "its rack is moved", "anna", START, until), seconds)
            asyncio.get_running_loop().call_later(seconds, admission.release, endpoint)
        tools = Tools(
            TwinStore(self.database, chance),
            self,
            clock,
            chance,
            TIMING,
            PATTERNS,
            CountingObserver(Seen().marks),
            admission,
        )
        engine = Engine(tools, instance="a", start="1")
        looking = asyncio.create_task(Recovery(engine, interval=1).run())
        for _ in range(PLAYED_SECONDS):
            await asyncio.sleep(1)
            if self.row.status.is_final:
                break
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await engine.stop(1)


# --- what is drawn ---

SECONDS = st.sampled_from([0.0, 0.0, 0.25, 2.5])
RESULTS = [*Result, Result.UNKNOWN, Result.UNKNOWN, Result.ONGOING]
ANSWERS = st.lists(st.builds(Supposed, st.sampled_from(RESULTS), SECONDS), max_size=6)


def options(draw: st.DrawFn, trans_type: str) -> Options:
    return Options(
        concurrent=draw(st.booleans()),
        timeout_to_fail=draw(st.sampled_from([0, 0, 7, 45])),
        retry_interval=draw(st.sampled_from([0, 0, 2, 30])),
        retry_limit=draw(st.sampled_from([0, 0, 1, 3])) if trans_type == TransType.SAGA else 0,
    )


def sagas(draw: st.DrawFn, status: Status) -> tuple[tuple[Branch, ...], str]:
    steps = draw(st.integers(1, 4))
    urls = st.sampled_from(["http://branch/it", "http://branch/it", "http://branch/it", ""])
    request = TransactionRequest(
        "g", "saga", tuple(Step(draw(urls), draw(urls)) for _ in range(steps)), (b"{}",) * steps
    )
    branches = list(saga.branches_of(request))
    for number in range(draw(st.integers(0, steps)) if status is not Status.PREPARED else 0):
        branches[2 * number + 1] = branches[2 * number + 1].with_status(BranchStatus.SUCCEED)
    if status is Status.ABORTING and draw(st.booleans()):
        at = next(
            (n for n, row in enumerate(branches) if n % 2 and row.status is BranchStatus.PREPARED), None
        )
        if at is not None:
            branches[at] = branches[at].with_status(BranchStatus.FAILED)
    orders = draw(st.sampled_from(["", '{"concurrent":true}', '{"concurrent":true,"orders":{"0":[]}}']))
    if steps > 2 and draw(st.booleans()):
        orders = '{"concurrent":true,"orders":{"2":[0]}}'
    return tuple(branches), orders


def messages(draw: st.DrawFn, _status: Status) -> tuple[tuple[Branch, ...], str]:
    steps = draw(st.integers(1, 4))
    request = TransactionRequest("g", "msg", (Step("http://branch/it"),) * steps, (b"{}",) * steps)
    branches = msg.branches_of(request, {})
    return branches, draw(st.sampled_from(["", '{"delay":20}']))


def registered(draw: st.DrawFn, ops: tuple[Op, Op]) -> tuple[tuple[Branch, ...], str]:
    ids = [f"{number:02d}" for number in range(1, draw(st.integers(0, 4)) + 1)]
    return tuple(Branch("g", it, op, f"http://branch/{op}", b"{}") for it in ids for op in ops), ""


@st.composite
def transactions(draw: st.DrawFn) -> Rows:
    """A transaction that nobody drives, as it may stand after some of its rounds."""
    trans_type = draw(st.sampled_from([*TransType, TransType.SAGA, TransType.SAGA]))
    statuses = {
        TransType.SAGA: [Status.PREPARED, Status.SUBMITTED, Status.SUBMITTED, Status.ABORTING],
        TransType.MSG: [Status.PREPARED, Status.SUBMITTED],
        TransType.WORKFLOW: [Status.PREPARED],
    }
    status = draw(
        st.sampled_from(statuses.get(trans_type, [Status.PREPARED, Status.SUBMITTED, Status.ABORTING]))
    )
    match trans_type:
        case TransType.SAGA:
            branches, custom_data = sagas(draw, status)
        case TransType.MSG:
            branches, custom_data = messages(draw, status)
        case TransType.TCC:
            branches, custom_data = registered(draw, (Op.CANCEL, Op.CONFIRM))
        case TransType.XA:
            branches, custom_data = registered(draw, (Op.ROLLBACK, Op.COMMIT))
        case _:
            branches, custom_data = (), '{"name":"transfer","data":"e30="}'
    given = options(draw, trans_type)
    failed = draw(st.sampled_from(["", "", '{"failed_rounds":2}']))
    asks = draw(st.sampled_from(["http://sender/ask", "http://sender/ask", ""]))
    transaction = Transaction(
        "g",
        trans_type,
        status,
        options=given,
        custom_data=custom_data,
        query_prepared="http://client/resume" if trans_type == TransType.WORKFLOW else asks,
        create_time=START,
        next_cron_interval=draw(st.sampled_from([0, TIMING.first_interval(given), 40, 160])),
        next_cron_time=START + timedelta(seconds=draw(st.sampled_from([0, 0, 0, 5, 60]))),
        ext_data=failed,
    )
    return Rows(transaction, branches)


@st.composite
def answers_for(draw: st.DrawFn, rows: Rows) -> Answers:
    keys = [branch.key for branch in rows.branches] + [("00", "msg"), ("00", "transfer")]
    return {key: draw(ANSWERS) for key in keys}


def calls_of(events: Sequence[object]) -> list[Made]:
    return [(it.at, it.branch.key, it.branch.payload) for it in events if isinstance(it, Called)]


REACHED = (
    *(
        "limit",
        "repeat",
        "backed off",
        "doubled",
        "delay",
        "left to client",
        "asked its sender",
        "concurrent",
    ),
    *("aborted by itself", "submitted by itself", *(f"{it} ended" for it in ("saga", "msg", "tcc", "xa"))),
)


def mark(marks: Counter[str], rows: Rows, events: Sequence[Event]) -> None:
    """Take note of what was reached, so that a run that proves nothing is seen."""
    trans_type = rows.transaction.trans_type
    intervals = [rows.transaction.next_cron_interval]
    begun = set[datetime]()
    for event in events:
        match event:
            case Rested(backs_off=True):
                marks["backed off"] += 1
                intervals.append(event.rows.transaction.next_cron_interval)
                marks["doubled"] += intervals[-1] > intervals[-2] > 0
                marks["limit"] += event.until == event.limit
            case Rested():
                marks["delay"] += event.rows.transaction.status is Status.SUBMITTED
            case LeftToClient():
                marks["left to client"] += 1
            case Moved(_, status, reason):
                marks[f"{trans_type} ended"] += status.is_final
                marks["aborted by itself"] += status is Status.ABORTING
                marks["repeat"] += "RetryLimit" in reason
                marks["submitted by itself"] += status is Status.SUBMITTED
            case Called():
                marks["asked its sender"] += event.branch.op == Op.MSG
                marks["concurrent"] += event.at in begun and event.supposed.seconds > 0
                begun.add(event.at)


def draw_until_reached(play: Callable[[], None], marks: Counter[str], wanted: Sequence[str]) -> None:
    """What is drawn is chance: draw again where it did not come to all that is to be seen."""
    for number in range(DRAWS_MAX):
        hypothesis.seed(number)(play)()
        if all(marks[it] for it in wanted):
            return
    assert [it for it in wanted if not marks[it]] == [], "nothing drawn reached these"


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("quiet")
def test_what_is_forecast_is_what_the_engine_then_does() -> None:
    marks: Counter[str] = Counter()

    @settings(max_examples=500, deadline=None)
    @given(st.data())
    def plays_alike(data: st.DataObject) -> None:
        rows = data.draw(transactions())
        answers = data.draw(answers_for(rows))
        asked: dict[BranchKey, int] = {}
        start = taken_up_at(rows.transaction, START)
        events: list[Event] = []
        if start is not None:
            events += play(TIMING, rows, lambda branch: scripted(answers, branch, asked), start=start)
        engine = Engines(rows, answers)
        engine.run()
        mark(marks, rows, events)
        events = [event for event in events if event.at < START + timedelta(seconds=PLAYED_SECONDS - 1)]
        assert engine.made == calls_of(events)
        assert not any(isinstance(event, CutOff) for event in events)
        moves = [event.status for event in events if isinstance(event, Moved)]
        if moves or not any(isinstance(event, LeftToClient) for event in events):
            assert engine.row.status is (moves[-1] if moves else rows.transaction.status)

    draw_until_reached(plays_alike, marks, REACHED)


HELD = ("http://branch/it", "http://branch/confirm", "http://branch/cancel", "http://sender/ask")
NOT_AT_HAND_SECONDS = (
    15  # a row that was let go just before the release comes at its own time, as does a limit
)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("quiet")
def test_what_is_held_is_called_when_it_is_said_to_be() -> None:
    marks: Counter[str] = Counter()

    @settings(max_examples=100, deadline=None)
    @given(st.data())
    def plays_alike(data: st.DataObject) -> None:
        rows = data.draw(transactions())
        held = {url: data.draw(st.sampled_from([0.0, 4.0, 40.0, 300.0])) for url in HELD}

        def held_until(branch: Branch) -> datetime | None:
            return START + timedelta(seconds=held[branch.url]) if branch.url in held else None

        start = taken_up_at(rows.transaction, START)
        events: list[Event] = []
        if start is not None:
            events += play(TIMING, rows, all_succeed(), start=start, held=held_until)
        engine = Engines(rows, {}, held={url: seconds for url, seconds in held.items() if seconds})
        engine.run()
        said, made = calls_of(events), engine.made
        limited = any(isinstance(event, Rested) and not event.backs_off for event in events)
        marks["waited"] += limited
        for event in events:
            if isinstance(event, Called):
                until = held_until(event.branch)
                assert until is None or event.at >= until
        assert [key for _, key, _ in made] == [key for _, key, _ in said]
        for (then, _, _), (at, _, _) in zip(made, said, strict=True):
            assert abs((then - at).total_seconds()) <= NOT_AT_HAND_SECONDS

    draw_until_reached(plays_alike, marks, ("waited",))


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("quiet")
def test_what_an_action_is_said_to_call_is_what_is_called_then() -> None:
    done: Counter[str] = Counter()

    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def calls_alike(data: st.DataObject) -> None:
        rows = data.draw(transactions())
        allowed = [it.action for it in allowed_actions(TIMING, rows, START) if not it.why_not]
        action = data.draw(st.sampled_from(allowed))
        branch, reason = ("", ""), data.draw(st.sampled_from(list(SkipReason)))
        if action is Action.SKIP:
            branch = data.draw(st.sampled_from(branches_to_skip(TIMING, rows, START)))
        shown = preview(TIMING, rows, action, now=START, branch=branch, reason=reason)
        engine = Engines(changed(rows, shown.planned), {})
        engine.run()
        assert engine.made == calls_of(shown.forecast.calls)
        called = {key[0] for _, key, _ in engine.made}
        for effect in shown.effects:
            assert effect.branch_id not in called or effect.fate not in NOT_CALLED, effect
        done[f"{rows.transaction.trans_type} {action}"] += 1
        if action in (Action.STOP, Action.ROLLBACK):
            assert not engine.made or action is Action.ROLLBACK
            assert engine.row.status is Status.FAILED

    actions = [(trans_type, action) for trans_type in TransType for action in ("stop", "retry", "rollback")]
    wanted = [f"{trans_type} {action}" for trans_type, action in actions]
    draw_until_reached(calls_alike, done, [it for it in wanted if it != "workflow rollback"])


@pytest.mark.parametrize("status", [Status.SUBMITTED, Status.ABORTING])
@pytest.mark.usefixtures("quiet")
def test_a_branch_that_is_skipped_is_not_called_and_all_others_are(status: Status) -> None:
    step = Step("http://branch/do", "http://branch/undo")
    request = TransactionRequest("g", "saga", (step,) * 3, (b"{}",) * 3)
    branches = tuple(
        row.with_status(BranchStatus.SUCCEED) if row.op == Op.ACTION and status is Status.ABORTING else row
        for row in saga.branches_of(request)
    )
    rows = Rows(Transaction("g", "saga", status, create_time=START, next_cron_time=START), branches)
    op = Op.COMPENSATE if status is Status.ABORTING else Op.ACTION
    shown = preview(TIMING, rows, Action.SKIP, now=START, branch=("02", op))
    engine = Engines(changed(rows, shown.planned), {})
    engine.run()
    assert sorted(key for _, key, _ in engine.made) == [("01", op), ("03", op)]
    assert [effect.fate for effect in shown.effects if effect.branch_id == "02"] == [Fate.SKIPPED]


def test_what_goes_on_failing_is_said_in_one_line() -> None:
    """It is not played 200 times: after two rounds alike, so many seconds apart, all others are the same."""
    step = Step("http://branch/do", "http://branch/undo")
    branches = saga.branches_of(TransactionRequest("g", "saga", (step,), (b"{}",)))
    rows = Rows(
        Transaction("g", "saga", Status.SUBMITTED, create_time=START, next_cron_interval=160), branches
    )
    failing = goes_on({("01", "action"): Supposed(Result.UNKNOWN)})
    coming = forecast(TIMING, rows, failing, now=START)
    assert (coming.repeats_seconds, coming.ends, coming.is_cut) == (300, None, False)
    seconds = [(call.at - START).total_seconds() for call in coming.calls]
    assert seconds == [0, 300]
    assert forecast(TIMING, rows, all_succeed(), now=START).ends is Status.SUCCEED


@pytest.mark.usefixtures("quiet")
def test_a_delay_after_a_success_forgets_an_earlier_back_off() -> None:
    """Its sender was asked late, and says that it has committed: what fails after the delay begins anew."""
    request = TransactionRequest("g", "msg", (Step("http://branch/it"),), (b"{}",))
    transaction = Transaction(
        *("g", "msg", Status.PREPARED),
        options=Options(timeout_to_fail=7),
        custom_data='{"delay":90}',
        query_prepared="http://sender/ask",
        create_time=START,
        next_cron_time=START + timedelta(seconds=10),
        next_cron_interval=160,
    )
    rows = Rows(transaction, msg.branches_of(request, {}))
    answers = {("01", "action"): [Supposed(Result.UNKNOWN)]}
    asked: dict[BranchKey, int] = {}
    start = START + timedelta(seconds=10)
    events = list(play(TIMING, rows, lambda branch: scripted(answers, branch, asked), start=start))
    engine = Engines(rows, answers)
    engine.run()
    assert engine.made == calls_of(events)
    assert [(at - START).total_seconds() for at, _, _ in engine.made] == [10, 90, 104]  # 2 x 7 s
