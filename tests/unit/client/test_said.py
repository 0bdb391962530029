"""`Failure.reason` is what the branch said: over both protocols, for every pattern (PROTOCOL §2, §5, §6)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from coordinator.client import DtmError, Failure, Ongoing
from coordinator.client.errors import Said
from coordinator.client.transport.http_answer import json_body
from coordinator.client.transport.said import (
    rollback_reason_of,
    said_in_header,
    said_in_reason,
    with_step,
    words_of,
)
from coordinator.discovery.logins import shown_url
from coordinator.model import Step

FASTAPI = {"detail": [{"type": "missing", "loc": ["body", "amount"], "msg": "Field required", "input": {}}]}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("no pear left", "no pear left"),
        ("no pear left FAILURE", "no pear left"),
        ("no pear left. FAILURE", "no pear left"),
        ('{"message":"no pear left","dtm_result":"FAILURE"}', "no pear left"),
        ('{"dtm_result":"FAILURE","message":"no pear left FAILURE"}', "no pear left"),
        ('{"detail":"no pear left"}', "no pear left"),
        ('{"error":{"code":7,"message":"no pear left"}}', "no pear left"),
        (json.dumps(FASTAPI), "body.amount: Field required"),
        ('"no pear left"', "no pear left"),
        ('{"dtm_result":"FAILURE"}', ""),
        ("FAILURE", ""),
        ("", ""),
        ('{"message": 7}', ""),
        ("{no json", "{no json"),
        ("<html>409</html>", "<html>409</html>"),
        ("keine Birne übrig", "keine Birne übrig"),
        ("x" * 1000, "x" * 500),
    ],
)
def test_the_words_for_people_in_an_answer(raw: str, words: str) -> None:
    assert words_of(raw) == words


@given(
    some.recursive(
        some.none() | some.text() | some.integers(),
        lambda it: some.lists(it) | some.dictionaries(some.text(), it),
    )
)
def test_any_json_has_words_or_none(value: Any) -> None:
    assert isinstance(words_of(json.dumps(value)), str)


def test_a_rollback_reason_is_read_again() -> None:
    said = said_in_reason('url:http://h/a return failed: {"message":"no pear left"} FAILURE')
    assert said == Said("http://h/a", "", "action", None, '{"message":"no pear left"}', "no pear left")
    assert said_in_reason("Timeout after 5 seconds") is None
    failure = Failure("http://h/a said: no", said=Said("http://h/a", "01", "try", 409, "no", "no"))
    read = said_in_reason(rollback_reason_of(failure))
    assert read is not None and (read.url, read.raw) == ("http://h/a", "no")
    assert rollback_reason_of(LookupError()) == "LookupError"


def test_the_step_is_the_one_whose_action_has_that_url() -> None:
    said = said_in_reason(f"url:{shown_url('http://me:secret@h/b')} return failed: no FAILURE")
    assert said is not None
    assert with_step(said, [Step("http://h/a"), Step("http://me:secret@h/b")]).branch_id == "02"
    assert with_step(said, [Step("http://me:secret@h/b")] * 2).branch_id == "", "nobody knows which"


def test_the_longer_of_two_texts_counts_with_what_our_coordinator_tells_beside_it() -> None:
    told = said_in_header('{"url":"http://h/a","branch_id":"02","op":"action","status":422,"said":"a…c"}')
    assert told is not None
    whole = said_in_reason("url:http://h/a return failed: a whole c FAILURE", told)
    assert whole == Said("http://h/a", "02", "action", 422, "a whole c", "a whole c")


@pytest.mark.parametrize(
    "header", ["", "x", "[]", "{}", '{"url":1,"branch_id":"","op":"","status":1,"said":""}']
)
def test_what_nobody_understands_tells_nothing(header: str) -> None:
    assert said_in_header(header) is None


def test_a_failure_of_one_s_own_says_its_own_words_and_no_branch_s() -> None:
    failure = Failure("score over the limit")
    assert (failure.reason, failure.url, failure.branch_id, failure.op) == (
        "score over the limit",
        "",
        "",
        "",
    )
    assert (failure.status, failure.raw) == (None, "")


def test_what_another_branch_said_is_what_the_handler_answers_that_lets_it_out() -> None:
    said = Said("http://h/a", "01", "try", 409, '{"message":"no pear left"}', "no pear left")
    assert json.loads(json_body(Failure("http://h/a said: no pear left", said=said))) == {
        "message": "no pear left",
        "dtm_result": "FAILURE",
    }
    for error in (Ongoing("x is not finished", said=said), DtmError("x answered HTTP 500", said=said)):
        assert json.loads(json_body(error))["message"] == error.message
