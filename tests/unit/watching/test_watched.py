"""Branch and database calls are measured; slow ones are said with what is needed to find them."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from loguru import logger

from coordinator.calls.base import SUCCESS, Answer
from coordinator.model import Branch, Op, Result, Status, Transaction, TransType
from coordinator.patterns import msg, saga, tcc
from coordinator.telemetry.slow import Slow
from coordinator.watching.endpoint_record import EndpointRecord
from coordinator.watching.watched import Recorded, WatchedCaller, WatchedRunner

TRACE = "0af7651916cd43dd8448eb211c80319c"
PATTERNS: Mapping[str, Recorded] = {TransType.SAGA: saga, TransType.TCC: tcc, TransType.MSG: msg}


class Counted:
    """A caller that answers as told, and what is counted of it."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.closed = False
        self.counted: list[tuple[str, Result, bool]] = []
        self.endpoints = EndpointRecord()

    def endpoint(self, transaction: Transaction, branch: Branch) -> str:
        return branch.url.rpartition("/")[0]

    async def call(self, *_: object, **__: object) -> Answer:
        return self.answer

    async def close(self) -> None:
        self.closed = True

    def branch_took(self, trans_type: str, result: Result, seconds: float, *, again: bool) -> None:
        assert seconds >= 0
        self.counted.append((trans_type, result, again))


class StillRunner:
    """A store's runner that does nothing."""

    async def write(self, function: Any, *, seconds: float) -> Any:
        return function(None)

    async def read(self, function: Any, *, seconds: float, at_leisure: bool = False) -> Any:
        return function(None)

    transact = write

    def connections(self) -> Mapping[str, float]:
        return {"idle": 1}

    async def close(self) -> None: ...


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    logger.remove()
    written: list[Any] = []
    number = logger.add(lambda message: written.append(message.record), format="{message}")
    yield written
    logger.remove(number)


async def call(answer: Answer, trans_type: str, op: str, limit: float = 0) -> Counted:
    counted = Counted(answer)
    slow = Slow("a branch call took its time", limit)
    caller = WatchedCaller(counted, counted, slow, PATTERNS, counted.endpoints)
    ext_data = f'{{"traceparent":"00-{TRACE}-b7ad6b7169203331-01"}}'
    transaction = Transaction("g1", trans_type, Status.SUBMITTED, ext_data=ext_data)
    branch = Branch("g1", "01", op, "http://bank/out?token=s3cr3t")
    assert await caller.call(transaction, branch, timeout=1) is answer
    await caller.close()
    assert counted.closed
    return counted


@pytest.mark.parametrize(
    ("result", "trans_type", "op", "again"),
    [
        (Result.SUCCESS, "saga", Op.ACTION, False),
        (Result.FAILURE, "saga", Op.ACTION, False),
        (Result.FAILURE, "saga", Op.COMPENSATE, True),
        (Result.UNKNOWN, "saga", Op.ACTION, True),
        (Result.ONGOING, "saga", Op.ACTION, True),
        (Result.FAILURE, "tcc", Op.CONFIRM, True),
        (Result.FAILURE, "msg", Op.ACTION, True),
    ],
)
async def test_a_call_that_is_made_once_more_is_a_retry(
    result: Result, trans_type: str, op: str, again: bool, lines: list[Any]
) -> None:
    answer = SUCCESS if result is Result.SUCCESS else Answer(result)
    assert (await call(answer, trans_type, op)).counted == [(trans_type, result, again)]
    assert lines == []


async def test_a_slow_call_is_said_with_gid_branch_and_trace_and_without_the_query(lines: list[Any]) -> None:
    await call(SUCCESS, "saga", "action", limit=1e-9)
    [record] = lines
    fields = dict(record["extra"])
    assert fields.pop("duration").endswith("ms")
    assert fields == {
        "gid": "g1",
        "branch": "01",
        "op": "action",
        "url": "http://bank/out",
        "result": "success",
        "trace": TRACE,
    }


async def test_slow_database_calls_are_said_whatever_they_end_with(lines: list[Any]) -> None:
    runner = WatchedRunner(StillRunner(), Slow("a database call took its time", 1e-9))
    assert await runner.write(lambda _: 1, seconds=1) == 1
    assert await runner.read(lambda _: 2, seconds=1) == 2
    with pytest.raises(ZeroDivisionError):
        await runner.transact(lambda _: 1 // 0, seconds=1)
    assert [record["extra"]["call"] for record in lines] == ["write", "read", "transact"]
    assert runner.connections() == {"idle": 1}
