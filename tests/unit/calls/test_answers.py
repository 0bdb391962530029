"""PROTOCOL §2, row by row."""

import json

import pytest

from coordinator.calls.answers import (
    grpc_answer,
    http_answer,
    json_rpc_answer,
    kept_http_answer,
    kept_json_rpc_answer,
    named_failure,
    said,
)
from coordinator.calls.base import Answer
from coordinator.model import Result


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        (200, b"", Result.SUCCESS),
        (200, b'{"dtm_result":"SUCCESS"}', Result.SUCCESS),
        (200, b"\xff\xfe anything", Result.SUCCESS),
        (409, b"no money", Result.FAILURE),
        (409, b"", Result.FAILURE),
        (425, b"wait", Result.ONGOING),
        (200, b'{"dtm_result":"FAILURE"}', Result.FAILURE),  # old style
        (200, b'{"dtm_result":"ONGOING"}', Result.ONGOING),  # old style
        (500, b"FAILURE", Result.FAILURE),  # old style, any status
        (404, b"ONGOING", Result.ONGOING),
        (409, b"ONGOING", Result.ONGOING),  # ONGOING is tested first
        (425, b"FAILURE", Result.ONGOING),
        (200, b"FAILURE ONGOING", Result.ONGOING),
        (500, b"boom", Result.UNKNOWN),
        (400, b"", Result.UNKNOWN),
        (404, b"", Result.UNKNOWN),
        (302, b"", Result.UNKNOWN),
        (500, b"failure", Result.UNKNOWN),  # the words are in capitals
    ],
)
def test_http(status: int, body: bytes, result: Result) -> None:
    assert http_answer(status, body).result is result


@pytest.mark.parametrize("status", [201, 202, 204])
def test_only_200_is_success_and_the_text_says_so(status: int) -> None:
    """PROTOCOL §10: 201 and 204 are unknown and retried; say so plainly."""
    answer = http_answer(status, b"made")
    assert answer.result is Result.UNKNOWN
    assert answer.text == f"made (status {status}: only 200 counts as success, so it will be called again)"


def test_http_text_is_what_the_branch_said() -> None:
    """PROTOCOL §6: rollback_reason holds what the branch answered; §5: 500 contains the branch's answer."""
    assert http_answer(409, b"no money\n").text == "no money"
    assert http_answer(500, b"boom").text == "boom (status 500)"
    assert http_answer(503, b"").text == "(status 503)"
    assert http_answer(409, b"caf\xe9").text == "caf\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("status", "message", "result"),
    [
        (0, "", Result.SUCCESS),
        (10, "no money", Result.FAILURE),
        (10, "ONGOING", Result.ONGOING),  # old style
        (10, "still ONGOING", Result.FAILURE),  # exactly ONGOING, or not at all
        (9, "wait", Result.ONGOING),
        (13, "boom FAILURE", Result.UNKNOWN),  # gRPC goes by its codes
        (14, "", Result.UNKNOWN),
        (4, "", Result.UNKNOWN),
        (2, "", Result.UNKNOWN),
    ],
)
def test_grpc(status: int, message: str, result: Result) -> None:
    answer = grpc_answer(status, message)
    assert (answer.result, answer.grpc_status) == (result, status)
    assert answer.text.startswith(message)


def _error(code: object) -> bytes:
    return json.dumps(
        {"jsonrpc": "2.0", "id": "1", "result": None, "error": {"code": code, "message": "m"}}
    ).encode()


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        (200, b'{"jsonrpc":"2.0","id":"1","result":{},"error":null}', Result.SUCCESS),
        (200, b'{"jsonrpc":"2.0","id":"1","result":"ok"}', Result.SUCCESS),
        (200, _error(-32901), Result.FAILURE),
        (200, _error(-32902), Result.ONGOING),
        (200, _error(-32603), Result.UNKNOWN),
        (200, _error("-32901"), Result.FAILURE),  # some libraries quote it
        (200, b'{"error":"text"}', Result.UNKNOWN),
        (200, b'{"error":{"code":-32603,"message":"FAILURE"}}', Result.FAILURE),  # old style
        (409, b"{}", Result.FAILURE),
        (425, b"{}", Result.ONGOING),
        (500, b"{}", Result.UNKNOWN),
        (200, b"hello", Result.UNKNOWN),
        (200, b"[]", Result.UNKNOWN),
        (200, b"[" * 60_000, Result.UNKNOWN),
        (200, _error(-32901.0), Result.FAILURE),
        (200, _error([1]), Result.UNKNOWN),
        (200, b"\xff", Result.UNKNOWN),
    ],
)
def test_json_rpc(status: int, body: bytes, result: Result) -> None:
    assert json_rpc_answer(status, body).result is result


def test_an_answer_is_plain_data() -> None:
    assert Answer(Result.UNKNOWN, "why").grpc_status is None


@pytest.mark.parametrize(
    ("answer", "statuses", "result"),
    [
        (http_answer(422, b"no"), (422,), Result.FAILURE),
        (http_answer(422, b"no"), (), Result.UNKNOWN),
        (http_answer(422, b"no"), (404,), Result.UNKNOWN),
        (http_answer(425, b"wait"), (425, 422), Result.ONGOING),
        (http_answer(200, b""), (422,), Result.SUCCESS),
        (grpc_answer(3, "no"), (3,), Result.FAILURE),
        (grpc_answer(14, "away"), (3,), Result.UNKNOWN),
        (Answer(Result.UNKNOWN, "no answer came"), (422, 3), Result.UNKNOWN),
    ],
)
def test_a_status_that_the_client_names_is_failure(
    answer: Answer, statuses: tuple[int, ...], result: Result
) -> None:
    assert named_failure(answer, statuses).result is result


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http_answer(422, b'{"detail":[]}'), '{"detail":[]}'),
        (http_answer(201, b"made"), "made"),
        (http_answer(500, b""), ""),
        (http_answer(409, b"no (status 7)"), "no (status 7)"),
        (grpc_answer(3, "bad (status 422)"), "bad (status 422)"),
        (http_answer(500, b"bad (status 422)"), "bad (status 422)"),
    ],
)
def test_what_the_branch_itself_said(answer: Answer, words: str) -> None:
    assert said(answer) == words


def test_a_result_that_is_kept_is_what_was_answered_in_utf_8() -> None:
    assert kept_http_answer(200, b'{"id":7}').body == b'{"id":7}'
    assert kept_http_answer(200, "zwölf".encode("latin-1"), "latin-1").body == "zwölf".encode()
    assert kept_http_answer(200, b"").body == b""
    for refused in (
        kept_http_answer(409, b"no"),
        kept_http_answer(200, b"FAILURE"),
        kept_http_answer(500, b""),
    ):
        assert refused.body is None


def test_of_json_rpc_its_result_is_kept() -> None:
    reply = b'{"jsonrpc":"2.0","id":1,"result":{"id":7,"name":"\xc3\xa9"},"error":null}'
    assert kept_json_rpc_answer(200, reply).body == b'{"id":7,"name":"\xc3\xa9"}'
    assert kept_json_rpc_answer(200, b'{"jsonrpc":"2.0","id":1}').body == b"null"
    assert kept_json_rpc_answer(200, b'{"error":{"code":-32901,"message":"no"}}').body is None
