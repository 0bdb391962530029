"""What a step answers, in the calls of other steps: kept with its success, whoever drives then."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from coordinator.calls.base import SUCCESS, Answer
from coordinator.errors import DtmError, Failure, Invalid
from coordinator.model import Branch, BranchStatus, Options, Place, Result, Status, Step, TransactionRequest
from coordinator.results import RESULT_BYTES_MAX
from tests.unit.service.bench import Bench, virtually

HIRE = Step(
    "http://hotel/book",
    "http://hotel/cancel",
    keep_result=True,
    compensate_from_results=(Place("$", 0, "$"),),
)
PAY = Step("http://pay/charge", "http://pay/refund", from_results=(Place("$.booking", 0, "$.id"),))
SAGA = TransactionRequest(
    "g",
    "saga",
    (HIRE, PAY),
    (b'{"nights":2}', b'{"amount":30,"booking":null}'),
    options=Options(wait_result=True),
)


class Branches:
    """They answer what the test says, by url, and remember what they were given."""

    def __init__(self, **answers: Answer | str) -> None:
        self.answers: dict[str, Answer | str] = {"book": '{"id":"b-7"}', **answers}
        self.given: list[tuple[str, str]] = []

    async def __call__(self, branch: Branch) -> Answer:
        name = branch.url.rpartition("/")[2]
        self.given.append((name, branch.payload.decode()))
        answer = self.answers.get(name, SUCCESS)
        return replace(SUCCESS, body=answer.encode()) if isinstance(answer, str) else answer


def refused(request: TransactionRequest) -> str:
    said: list[str] = []

    @virtually
    async def submit() -> None:
        with pytest.raises(Invalid) as error:
            await Bench().transactions.submit(request)
        said.append(error.value.message)

    submit()
    return said[0]


@virtually
async def test_a_later_step_is_given_what_an_earlier_one_answered() -> None:
    branches = Branches()
    bench = Bench(branches)
    assert await bench.transactions.submit(SAGA) == {"01": b'{"id":"b-7"}'}
    assert branches.given == [("book", '{"nights":2}'), ("charge", '{"amount":30,"booking":"b-7"}')]
    assert bench.row.status is Status.SUCCEED
    assert bench.rows.results("g") == {"01": b'{"id":"b-7"}'}


@virtually
async def test_who_does_not_wait_is_told_nothing() -> None:
    bench = Bench(Branches())
    assert await bench.transactions.submit(replace(SAGA, options=Options())) is None
    assert await bench.after(1) is Status.SUCCEED


@virtually
async def test_urls_say_what_no_other_server_does() -> None:
    bench = Bench(Branches())
    await bench.transactions.submit(SAGA)
    assert [branch.url for branch in bench.rows.branches["g"]] == [
        "from-result+http://hotel/cancel",
        "result+http://hotel/book",
        "from-result+http://pay/refund",
        "from-result+http://pay/charge",
    ]


@virtually
async def test_what_was_done_is_undone_with_what_it_answered() -> None:
    branches = Branches(charge=Answer(Result.FAILURE, "no money"))
    bench = Bench(branches)
    with pytest.raises(Failure, match="url:http://pay/charge return failed: no money"):
        await bench.transactions.submit(SAGA)
    assert branches.given[2:] == [("refund", '{"amount":30,"booking":"b-7"}'), ("cancel", '{"id":"b-7"}')]
    assert bench.row.status is Status.FAILED


@virtually
async def test_a_compensation_of_what_may_not_have_been_done_is_given_null() -> None:
    branches = Branches(book=Answer(Result.FAILURE, "full"))
    bench = Bench(branches)
    with pytest.raises(Failure):
        await bench.transactions.submit(SAGA)
    assert branches.given[1:] == [("cancel", "null")]
    assert bench.row.status is Status.FAILED


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("x" * (RESULT_BYTES_MAX + 1), "the result has 16385 bytes; at most 16384 are kept"),
        ('{"ID":1}', "the result of step 0 has no $.id, which a payload needs"),
        ("SUCCESS", "the result of step 0 is no JSON, and a payload needs its $.id"),
        (SUCCESS, "the result cannot be read"),
    ],
)
def test_a_result_that_nothing_can_be_done_with_rolls_back_its_own_step_too(
    answer: str | Answer, reason: str
) -> None:
    @virtually
    async def run() -> None:
        branches = Branches(book=answer)
        bench = Bench(branches)
        with pytest.raises(Failure) as failure:
            await bench.transactions.submit(SAGA)
        assert reason in failure.value.message
        assert [name for name, _ in branches.given] == ["book", "cancel"]
        assert (bench.row.status, bench.rows.results("g")) == (Status.FAILED, {})

    run()


@virtually
async def test_another_driver_goes_on_with_what_is_stored() -> None:
    branches = Branches(charge=Answer(Result.UNKNOWN, "away"))
    bench = Bench(branches)
    with pytest.raises(DtmError):
        await bench.transactions.submit(SAGA)
    bench.first.engine.refuse_new()
    branches.answers.pop("charge")
    other = bench.node()
    looking = asyncio.create_task(other.recovery.run())
    await asyncio.sleep(60)
    looking.cancel()
    assert bench.row.status is Status.SUCCEED
    assert [given for given in branches.given if given[0] == "charge"] == [
        ("charge", '{"amount":30,"booking":"b-7"}')
    ] * 2


@virtually
async def test_what_was_skipped_has_no_result_so_that_what_needs_it_fails() -> None:
    branches = Branches(book=Answer(Result.UNKNOWN, "away"))
    bench = Bench(branches)
    with pytest.raises(Failure):
        await bench.transactions.submit(SAGA)
    rows = bench.rows.branches["g"]
    done = tuple(replace(it, status=BranchStatus.SUCCEED) if it.url.endswith("book") else it for it in rows)
    bench.rows.branches["g"] = done
    assert await bench.after(60) is Status.FAILED
    assert "no result of step 0 is kept, which a payload needs ($.id)" in bench.row.rollback_reason
    assert [name for name, _ in branches.given] == ["book", "refund", "cancel"]
    assert json.loads(branches.given[1][1]) == {"amount": 30, "booking": None}


@virtually
async def test_a_second_submit_is_told_the_results_as_well() -> None:
    bench = Bench(Branches())
    prepared = replace(SAGA, options=Options())
    await bench.transactions.prepare(prepared)
    assert await bench.transactions.submit(SAGA) == {"01": b'{"id":"b-7"}'}


def place(step: int = 0, path: str = "$.id", at: str = "$.booking") -> Place:
    return Place(at, step, path)


def with_step(index: int, **values: Any) -> TransactionRequest:
    steps = list(SAGA.steps)
    steps[index] = replace(steps[index], **values)
    return replace(SAGA, steps=tuple(steps))


def concurrent(orders: Mapping[str, list[int]]) -> TransactionRequest:
    return replace(SAGA, custom_data=json.dumps({"concurrent": True, "orders": orders}))


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (
            with_step(0, keep_result=False),
            "steps[0].compensate_from_results[0].step: step 0 has no keep_result",
        ),
        (with_step(0, action=""), "steps[0].keep_result: there is no action, and so no result"),
        (
            with_step(1, from_results=(place(2),)),
            "steps[1].from_results[0].step: there is no step 2; they are 0 to 1",
        ),
        (
            with_step(1, from_results=(place(), place(path="id"))),
            "steps[1].from_results[1].path: 'id' is no path",
        ),
        (
            with_step(1, from_results=(place(at="$.x"),)),
            "steps[1].from_results[0].at: the payload has no $.x",
        ),
        (with_step(1, from_results=(place(),) * 65), "steps[1].from_results has 65 entries; at most 64 fit"),
        (
            with_step(1, keep_result=True, from_results=(place(1),)),
            "steps[1].from_results[0].step: step 1 need not have succeeded by then",
        ),
        (
            with_step(0, from_results=(place(0, at="$"),)),
            "steps[0].from_results[0].step: step 0 need not have succeeded by then",
        ),
        (concurrent({}), "steps[1].from_results[0].step: step 0 need not have succeeded by then"),
        (concurrent({"0": [1]}), "steps[1].from_results[0].step: step 0 need not have succeeded by then"),
        (concurrent({"0": [1], "1": [0]}), "custom_data.orders is cyclic"),
        (
            replace(SAGA, payloads=(b"", b"no JSON")),
            "steps[1].from_results: the payload is no JSON",
        ),
        (
            with_step(0, action="result+http://hotel/book"),
            "steps[0].action 'result+http://hotel/book' begins with result+, which is this server's own",
        ),
        (
            replace(SAGA, trans_type="msg", query_prepared="http://a/b"),
            "steps[0].keep_result: only the steps of a saga keep and use results",
        ),
        (
            replace(SAGA, steps=(Step("http://a/b", keep_result=True),) * 65, payloads=(b"",) * 65),
            "65 steps have keep_result; at most 64 may",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_name_of_the_field(
    request_: TransactionRequest, problem: str
) -> None:
    assert refused(request_).startswith(problem)


@virtually
async def test_with_concurrent_the_order_counts() -> None:
    branches = Branches()
    assert await Bench(branches).transactions.submit(concurrent({"1": [0]}))
    assert branches.given[1] == ("charge", '{"amount":30,"booking":"b-7"}')


@virtually
async def test_where_nothing_can_be_kept_it_is_said_at_once() -> None:
    bench = Bench(Branches())
    transactions = bench.transactions
    transactions._engine._tools = replace(bench.tools, no_results="there is no table dtm_result")
    with pytest.raises(Invalid, match=r"steps\[0\].keep_result: there is no table dtm_result"):
        await transactions.submit(SAGA)
    assert bench.rows.transactions == {}
