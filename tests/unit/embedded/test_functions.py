"""PROTOCOL §2 for functions of one's own: what comes of a call, and when it ends."""

import asyncio
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from coordinator.attempt import Kind
from coordinator.calls.base import Answer
from coordinator.client import (
    BranchContext,
    DtmError,
    Failure,
    InvalidUse,
    LocalCall,
    NoBranchContext,
    Ongoing,
    current_branch,
)
from coordinator.embedded import functions as functions_module
from coordinator.embedded.functions import Function, Functions, by_name
from coordinator.model import Result

SECONDS = 30.0  # for calls that are not to time out


def called(op: str = "action", payload: bytes = b"{}") -> LocalCall:
    return LocalCall(BranchContext("g1", "saga", "01", op), payload)


async def answer_of(function: Function, *, keep: bool = True, timeout: float = SECONDS) -> Answer:
    return await Functions({"pay": function}, copy_context()).run("pay", called(), timeout=timeout, keep=keep)


def returning(value: Any) -> Function:
    async def pay(call: LocalCall) -> Any:
        return value

    return pay


def raising(error: BaseException) -> Function:
    async def pay(call: LocalCall) -> None:
        raise error

    return pay


@pytest.mark.parametrize(
    ("returned", "body"),
    [
        (None, b""),
        ({"number": 7}, b'{"number":7}'),
        ("text", b'"text"'),
        (b"\x00as it is", b"\x00as it is"),
        (datetime(2026, 1, 2, tzinfo=UTC), b'"2026-01-02T00:00:00+00:00"'),
    ],
)
async def test_what_it_returns_is_success_and_the_result(returned: Any, body: bytes) -> None:
    answer = await answer_of(returning(returned))
    assert (answer.result, answer.body) == (Result.SUCCESS, body)


async def test_what_has_no_json_is_failure_where_it_is_to_be_kept_and_else_nobodys_business() -> None:
    answer = await answer_of(returning(object()))
    assert answer.result is Result.FAILURE
    assert "local://pay returned what is no result: " in answer.text
    assert await answer_of(returning(object()), keep=False) == Answer(Result.SUCCESS)


@pytest.mark.parametrize(
    ("error", "result", "status", "kind", "text"),
    [
        (Failure("no pear left"), Result.FAILURE, 409, Kind.FAILURE, "no pear left"),
        (Ongoing("ask the bank"), Result.ONGOING, 425, Kind.ONGOING, "ask the bank"),
        (DtmError("broken"), Result.UNKNOWN, 500, Kind.STATUS, "broken"),
        (NoBranchContext("which?"), Result.UNKNOWN, 400, Kind.STATUS, "which?"),
    ],
)
async def test_the_errors_of_the_client_mean_what_they_mean_over_http(
    error: DtmError, result: Result, status: int, kind: Kind, text: str
) -> None:
    answer = await answer_of(raising(error))
    assert (answer.result, answer.http_status, answer.kind, answer.text) == (result, status, kind, text)
    assert not answer.is_lost


async def test_any_other_exception_is_unknown_with_the_place_that_it_came_from() -> None:
    answer = await answer_of(raising(ZeroDivisionError("by nothing")))
    assert (answer.result, answer.http_status) == (Result.UNKNOWN, 500)
    assert answer.text.startswith("local://pay raised ZeroDivisionError: by nothing\n  at ")
    assert "test_functions.py" in answer.text


async def test_one_that_is_late_is_cancelled_and_nothing_is_known_of_it() -> None:
    cancelled = asyncio.Event()

    async def pay(call: LocalCall) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    answer = await answer_of(pay, timeout=0.01)
    assert cancelled.is_set()
    assert (answer.result, answer.kind, answer.is_lost) == (Result.UNKNOWN, Kind.TIMEOUT, True)
    assert answer.text == "local://pay gave no answer within 0.01 s"


async def test_one_that_cancels_itself_takes_nobody_with_it() -> None:
    answer = await answer_of(raising(asyncio.CancelledError()))
    assert answer.result is Result.UNKNOWN


async def test_one_that_heeds_no_cancelling_is_not_called_a_second_time_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(functions_module, "CANCEL_SECONDS", 0.01)
    may_end, ended, calls = asyncio.Event(), asyncio.Event(), []

    async def pay(call: LocalCall) -> None:
        calls.append(call.op)
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue
        ended.set()

    functions = Functions({"pay": pay}, copy_context())
    run = partial(functions.run, "pay", timeout=0.01, keep=False)
    assert (await run(called())).kind is Kind.TIMEOUT
    again = await run(called())
    assert "still runs since it was called before" in again.text
    assert (await run(called("compensate"))).kind is Kind.TIMEOUT  # another branch op is another matter
    assert calls == ["action", "compensate"]
    may_end.set()
    await functions.close()
    assert ended.is_set()
    assert (await run(called())).result is Result.SUCCESS


async def test_who_is_cancelled_while_it_waits_ends_the_function_too() -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def pay(call: LocalCall) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    waiting = asyncio.create_task(answer_of(pay))
    await began.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert cancelled.is_set()


async def test_it_knows_its_branch_and_finds_the_context_of_the_start_whoever_caused_the_call() -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="")
    tenant.set("of the start")
    context = copy_context()
    tenant.set("of the request")
    seen = []

    async def pay(call: LocalCall) -> None:
        seen.append((tenant.get(), current_branch() is call.branch, call.gid, call.branch_id, call.op))
        tenant.set("of the call before")

    functions = Functions({"pay": pay}, context)
    for _ in range(2):
        await functions.run("pay", called(), timeout=SECONDS, keep=False)
    assert seen == [("of the start", True, "g1", "01", "action")] * 2


def test_functions_have_their_own_names_or_those_of_a_dict() -> None:
    async def pay(call: LocalCall) -> None: ...

    class Payer:
        async def __call__(self, call: LocalCall) -> None: ...

    payer = Payer()
    assert by_name([pay]) == {"pay": pay}
    assert by_name({"bank.pay": payer}) == {"bank.pay": payer}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([partial(print)], "has no name that a url can have"),
        ({"a/b": print}, "has no name that a url can have"),
        ([print], "print is no `async def`: it would hold up the whole program"),
    ],
)
def test_what_cannot_be_called_is_refused(given: Any, problem: str) -> None:
    with pytest.raises(InvalidUse, match=problem):
        by_name(given)


def test_two_of_one_name_are_refused() -> None:
    async def pay(call: LocalCall) -> None: ...

    with pytest.raises(InvalidUse, match="two are called 'pay'"):
        by_name([pay, pay])
