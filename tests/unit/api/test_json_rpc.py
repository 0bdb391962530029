"""JSON-RPC in front of a fake service: requests, answers, and whatever is no request (PROTOCOL §4)."""

import json
from typing import Any

import pytest
from loguru import logger

from coordinator.access.permissions import ANYBODY
from coordinator.api.json_rpc import JsonRpc
from coordinator.errors import (
    BranchConflict,
    Busy,
    DtmError,
    Failure,
    Invalid,
    NoResult,
    NotFound,
    Ongoing,
    Stopping,
)
from coordinator.model import BranchRequest, TransactionRequest
from tests.unit.api.fakes import BODY_BYTES_MAX, FakeService, Http, Parts

JSON = "application/json; charset=utf-8"


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def service(parts: Parts) -> FakeService:
    return parts.service


@pytest.fixture
def rpc(parts: Parts) -> JsonRpc:
    return JsonRpc(parts.operations)


def request(method: object, params: object = None, **more: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": "1", "method": method, "params": params} | more).encode()


async def answered(rpc: JsonRpc, body: bytes) -> dict[str, Any]:
    """The answer, which always has the four members, and of result and error at most one."""
    text, ok = await rpc.answer(body, ANYBODY, "")
    said: dict[str, Any] = json.loads(text)
    assert said.keys() == {"jsonrpc", "id", "result", "error"}
    assert said["jsonrpc"] == "2.0"
    assert ok == (said["error"] is None)
    assert ok or said["result"] is None
    return said


async def refused(rpc: JsonRpc, body: bytes) -> tuple[Any, int, str]:
    """id, code and message of an error."""
    said = await answered(rpc, body)
    assert said["error"].keys() == {"code", "message"}
    return said["id"], said["error"]["code"], said["error"]["message"]


# ---- plain use ----


async def test_new_gid(rpc: JsonRpc) -> None:
    assert await answered(rpc, request("newGid")) == {
        "jsonrpc": "2.0",
        "id": "1",
        "result": {"gid": "gid-1"},
        "error": None,
    }


@pytest.mark.parametrize("method", ["submit", "prepare", "abort"])
async def test_the_params_are_the_body_of_http(rpc: JsonRpc, service: FakeService, method: str) -> None:
    params = {
        "GID": "g1",
        "trans_type": "saga",
        "protocol": "json-rpc",
        "steps": [{"action": "http://a/"}],
        "payloads": ["{}"],
        "wait_result": True,
        "timeout_to_fail": None,
        "unknown": [],
    }
    said = await answered(rpc, request(method, params))
    assert (said["result"], said["error"]) == (None, None)
    [(asked, given)] = service.asked
    assert asked == method
    assert isinstance(given, TransactionRequest)
    assert (given.gid, given.protocol, given.options.wait_result) == ("g1", "json-rpc", True)


async def test_a_branch_is_registered(rpc: JsonRpc, service: FakeService) -> None:
    params = {"gid": "g1", "trans_type": "xa", "branch_id": "01", "data": "{}", "url": "http://a/"}
    assert (await answered(rpc, request("registerBranch", params)))["error"] is None
    assert service.asked == [("register", BranchRequest("g1", "xa", "01", b"{}", {"url": "http://a/"}))]


@pytest.mark.parametrize("identifier", ["1", "é", " ", 1, 0, -7, 1.5, 2**63])
async def test_text_and_numbers_are_ids_and_come_back(rpc: JsonRpc, identifier: object) -> None:
    assert (await answered(rpc, request("newGid", id=identifier)))["id"] == identifier
    assert (await refused(rpc, request("nothing", id=identifier)))[0] == identifier


@pytest.mark.parametrize(
    "identifier",
    [
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "1" * 60,
        "1.0",
        "1e3",
        "-0.0",
        "0.12345678901234567890",
    ],
)
async def test_a_number_comes_back_as_it_was_sent(rpc: JsonRpc, identifier: str) -> None:
    """An id that comes back as another number is nobody's answer."""
    for method in ("newGid", "nothing"):
        body = request(method).replace(b'"id": "1"', b'"id": 3, "id": %b' % identifier.encode())
        text, _ = await rpc.answer(body, ANYBODY, "")
        assert f'"id":{identifier},'.encode() in text


async def test_an_id_in_a_request_nested_too_deeply_to_be_read_is_refused(rpc: JsonRpc) -> None:
    deep = b"[" * 1010 + b"]" * 1010
    body = b'{"jsonrpc":"2.0","id":1.5,"method":"newGid","params":{"x":%b}}' % deep
    identifier, code, message = await refused(rpc, body)
    assert (identifier, code, message) == ("", -32600, "Bad json request: it is nested too deeply")


async def test_params_may_be_left_out(rpc: JsonRpc, service: FakeService) -> None:
    for body in (request("submit"), b'{"jsonrpc":"2.0","id":"1","method":"submit"}'):
        assert (await answered(rpc, body))["error"] is None
    assert [given.gid for _, given in service.asked] == ["", ""]


# ---- what the operation says ----

ERRORS: list[tuple[DtmError, int]] = [
    (Failure("no money"), -32901),
    (Ongoing(), -32902),
    (Invalid("no gid specified"), -32603),
    (NotFound.of_gid("g1"), -32603),
    (BranchConflict("registered already"), -32603),
    (NoResult("boom"), -32603),
    (Busy("too much", hint="wait"), -32603),
    (Stopping("going", hint="wait"), -32603),
]


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda it: type(it).__name__)
async def test_an_error_has_the_code_of_its_class(
    rpc: JsonRpc, service: FakeService, error: DtmError, code: int
) -> None:
    service.error = error
    assert await refused(rpc, request("submit", {"gid": "g1"})) == ("1", code, error.message)


async def test_a_fault_of_ours_is_logged_and_tells_nothing_of_the_inside(
    rpc: JsonRpc, service: FakeService
) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message} {exception}", diagnose=False)
    service.error = RuntimeError("secret")
    identifier, code, message = await refused(rpc, request("submit"))
    logger.remove(sink)
    assert (identifier, code) == ("1", -32603)
    assert message.startswith("internal error")
    assert "secret" not in message
    assert "JSON-RPC submit failed" in lines[0]


# ---- what is no request ----

NOT_JSON = [b"", b"no", b'{"id":"1"', b'{"id":"1"} more', b'{"id":"\xff"}', b'{"id":"\\ud800"}', b"[" * 5000]


@pytest.mark.parametrize("body", NOT_JSON, ids=range(len(NOT_JSON)))
async def test_what_is_not_json_is_a_parse_error(rpc: JsonRpc, service: FakeService, body: bytes) -> None:
    identifier, code, message = await refused(rpc, body)
    assert (identifier, code) == ("", -32700)
    assert message.startswith("Parse json error: ")
    assert service.asked == []


BAD_REQUESTS = [
    (b"null", "Bad json request: it: must be an object, not null"),
    (b"7", "Bad json request: it: must be an object, not a number"),
    (b"[]", "Bad json request: it: must be an object, not an array"),
    (b"[%b]" % request("newGid"), "Bad json request: it: must be an object, not an array"),  # a batch
    (b'{"jsonrpc":"2.0","method":"newGid"}', "Bad json request: id must be a string or a number"),
    (request("newGid", id=None), "Bad json request: id must be a string or a number"),
    (request("newGid", id=""), "Bad json request: id must be a string or a number"),
    (request("newGid", id=True), "Bad json request: id must be a string or a number"),
    (request("newGid", id=["1"]), "Bad json request: id must be a string or a number"),
    (request("newGid", id={}), "Bad json request: id must be a string or a number"),
]


@pytest.mark.parametrize(("body", "message"), BAD_REQUESTS, ids=range(len(BAD_REQUESTS)))
async def test_a_request_that_has_no_id_is_answered_without(rpc: JsonRpc, body: bytes, message: str) -> None:
    assert await refused(rpc, body) == ("", -32600, message)


@pytest.mark.parametrize("version", [None, "1.0", "2", 2, 2.0])
async def test_another_version_is_a_bad_request(rpc: JsonRpc, version: object) -> None:
    wanted = ("1", -32600, 'Bad json request: jsonrpc must be "2.0"')
    assert await refused(rpc, request("newGid", jsonrpc=version)) == wanted


@pytest.mark.parametrize("method", ["nothing", "", "NewGid", "query", "prepareWorkflow", None, 7, ["newGid"]])
async def test_an_unknown_method_is_not_found(rpc: JsonRpc, service: FakeService, method: object) -> None:
    identifier, code, message = await refused(rpc, request(method, {"gid": "g1"}))
    assert (identifier, code) == ("1", -32601)
    assert message == f"Method not found: {method}"
    assert service.asked == []


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ([], "params: must be an object, not an array"),
        ([{"gid": "g1"}], "params: must be an object, not an array"),
        ("{}", "params: must be an object, not a string"),
        (7, "params: must be an object, not a number"),
        (False, "params: must be an object, not a boolean"),
        ({"gid": 7}, "gid: must be a string, not a number"),
    ],
)
@pytest.mark.parametrize("method", ["submit", "prepare", "abort", "registerBranch"])
async def test_params_of_a_wrong_type_are_named(
    rpc: JsonRpc, service: FakeService, method: str, params: object, message: str
) -> None:
    assert await refused(rpc, request(method, params)) == ("1", -32603, message)
    assert service.asked == []


@pytest.mark.parametrize("params", ["", "{}", None, [], [{"gid": "g1"}], 7, False, {"gid": 7}])
async def test_a_gid_is_had_whatever_the_params_are(rpc: JsonRpc, params: object) -> None:
    """PROTOCOL §4: old Go clients send an empty string."""
    assert (await answered(rpc, request("newGid", params)))["result"] == {"gid": "gid-1"}


# ---- over HTTP ----


async def test_every_answer_is_200_and_json(http: Http) -> None:
    for body in (request("newGid"), request("nothing"), b"no", b"[]"):
        status, kind, text = await http.call("POST", "/api/json-rpc", body)
        assert (status, kind) == (200, JSON)
        assert json.loads(text).keys() == {"jsonrpc", "id", "result", "error"}


async def test_errors_are_counted_as_what_they_are(http: Http) -> None:
    """PROTOCOL §15: status `ok` or `fail`."""
    for body in (
        request("newGid"),
        request("newGid"),
        request("nothing"),
        b"no",
        b" " * (BODY_BYTES_MAX + 1),
    ):
        await http.call("POST", "/api/json-rpc", body)
    for status, wanted in (("ok", 2), ("fail", 3)):
        line = f'dtm_server_process_total{{api="json-rpc",status="{status}",type="http"}}'
        assert http.metric(line) == wanted
    assert http.metric('dtm_server_response_duration_count{api="json-rpc",type="http"}') == 5
