"""Bad input, operation by operation, over every protocol that has it (PROTOCOL §2).

The answer names the field, nothing is stored, and the coordinator goes on.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientSession
from grpclib.const import Status
from yarl import URL

from tests.support.every_store import coordinator_on
from tests.support.three_clients import (
    ERROR,
    PROTOCOLS,
    SUCCESS,
    Client,
    GrpcClient,
    HttpClient,
    JsonRpcClient,
    client_of,
)
from tests.support.under_test import CoordinatorProcess

OPERATIONS = {kind.name: kind.operations for kind in (HttpClient, GrpcClient, JsonRpcClient)}
URL_OK = "http://127.0.0.1:1/nobody"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])  # which takes least
def coordinator(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CoordinatorProcess]:
    """One per store: each test uses gids of its own."""
    yield from coordinator_on(request.param, request, tmp_path_factory)


@pytest.fixture(params=PROTOCOLS)
async def client(request: pytest.FixtureRequest, coordinator: CoordinatorProcess) -> AsyncIterator[Client]:
    async with client_of(request.param, coordinator) as one:
        yield one


@dataclass(frozen=True, slots=True)
class Bad:
    """An operation and what is wrong with it. sentence: how the answer begins."""

    name: str
    content: Mapping[str, Any]
    sentence: str
    protocols: tuple[str, ...] = PROTOCOLS


def parameters(operations: Mapping[str, list[Bad]]) -> list[Any]:
    """operation, bad, protocol: for every protocol that can say it."""
    return [
        pytest.param(operation, bad, protocol, id=f"{operation}: {bad.name}, over {protocol}")
        for operation, table in operations.items()
        for bad in table
        for protocol in bad.protocols
        if operation in OPERATIONS[protocol]
    ]


async def refused(client: Client, operation: str, content: Mapping[str, Any], grpc: Status) -> str:
    """Ask, see that it is an error of the protocol, return the message."""
    outcome = await client.ask(operation, content)
    assert outcome.kind == ERROR, outcome
    assert outcome.code == {"http": 500, "grpc": grpc.value, "json-rpc": -32603}[client.name], outcome
    assert "internal error" not in outcome.message
    return outcome.message


# ---- transactions ----

STEP = {"action": URL_OK, "compensate": URL_OK}
SAGA = {"trans_type": "saga", "steps": [STEP], "payloads": ["{}"]}
MSG = {"trans_type": "msg", "steps": [{"action": URL_OK}], "payloads": ["{}"], "query_prepared": URL_OK}
WORKFLOW = {
    "trans_type": "workflow",
    "custom_data": '{"name":"register","data":"e30="}',
    "query_prepared": URL_OK,
}
JSON_BODY = ("http", "json-rpc")  # what gRPC's types cannot say

ANY_TRANSACTION = [
    Bad("no gid", {**SAGA, "gid": ""}, "no gid specified"),
    Bad("a gid too long", {**SAGA, "gid": "x" * 129}, "gid has 129 characters; at most 128 fit"),
    Bad("a gid with a control character", {**SAGA, "gid": "a\x00b"}, "gid 'a\\x00b' has a control character"),
    Bad("no trans_type", {"steps": []}, "unknown trans_type ''"),
    Bad("an unknown trans_type", {**SAGA, "trans_type": "magic"}, "unknown trans_type 'magic'"),
    Bad("an unknown protocol", {**SAGA, "protocol": "pigeon"}, "protocol must be one of", JSON_BODY),
    Bad("a number for a gid", {**SAGA, "gid": 1}, "gid: must be a string, not a number", JSON_BODY),
    Bad("text for steps", {**SAGA, "steps": "a"}, "steps: must be an array, not a string", JSON_BODY),
    Bad("text for a step", {**SAGA, "steps": ["a"]}, "steps[0]: must be an object", JSON_BODY),
    Bad("a payload that is no text", {**SAGA, "payloads": [{}]}, "payloads[0]: must be a string", JSON_BODY),
    Bad("req_extra of numbers", {**SAGA, "req_extra": {"a": 1}}, "req_extra.a: must be a string", JSON_BODY),
    Bad(
        "too many steps",
        {**SAGA, "steps": [STEP] * 1001, "payloads": ["{}"] * 1001},
        "{steps}: a transaction may have at most 1000, but has 1001",
    ),
    Bad("fewer payloads than steps", {**SAGA, "payloads": []}, "1 step but 0 payloads"),
    Bad("a payload too long", {**SAGA, "payloads": ["x" * 65_536]}, "payloads[0] has 65536 bytes"),
    Bad(
        "an action without host", {**SAGA, "steps": [{"action": "http:///a"}]}, "steps[0].action 'http:///a'"
    ),
    Bad("an action too long", {**SAGA, "steps": [{"action": URL_OK + "x" * 1024}]}, "steps[0].action has"),
    Bad("a compensation too long", {**SAGA, "steps": [{"compensate": URL_OK + "x" * 1024}]}, "steps[0].comp"),
    Bad("custom_data too long", {**SAGA, "custom_data": "x" * 1025}, "custom_data has 1025 characters"),
    Bad("a NUL in custom_data", {"trans_type": "tcc", "custom_data": "\x00"}, "custom_data has a NUL"),
    Bad("a reason too long", {**SAGA, "rollback_reason": "x" * 1025}, "rollback_reason has 1025 characters"),
    Bad("a NUL in a reason", {**SAGA, "rollback_reason": "a\x00"}, "rollback_reason has a NUL character"),
    Bad("a time too long", {**SAGA, "timeout_to_fail": 2**31}, "timeout_to_fail must be between 0 and"),
    Bad("a negative interval", {**SAGA, "retry_interval": -1}, "{retry_interval}: must not be negative"),
    Bad("more than 64 bits", {**SAGA, "retry_limit": 2**64}, "retry_limit: must be an integer", JSON_BODY),
    Bad("a header that is none", {**SAGA, "branch_headers": {"a b": "c"}}, "branch_headers has 'a b'"),
    Bad("a header of two lines", {**SAGA, "branch_headers": {"a": "b\nc"}}, "branch_headers['a'] 'b\\nc'"),
    Bad("headers too long", {**SAGA, "branch_headers": {"a": "b" * 1024}}, "the options as JSON has"),
]


def custom(base: Mapping[str, Any], *rows: tuple[str, str]) -> list[Bad]:
    return [
        Bad(f"custom_data {data} of a {base['trans_type']}", {**base, "custom_data": data}, sentence)
        for data, sentence in rows
    ]


CUSTOM_DATA = [
    *custom(
        SAGA,
        ("no json", "custom_data is not JSON"),
        ("[1]", "custom_data must be a JSON object"),
        ('{"concurrent":"yes"}', "custom_data.concurrent must be true or false, not 'yes'"),
        ('{"orders":[1]}', "custom_data.orders"),
        ('{"orders":{"x":[0]}}', "custom_data.orders"),
        ('{"orders":{"0":["x"]}}', "custom_data.orders"),
        ('{"orders":{"7":[0]}}', "custom_data.orders"),
        ('{"orders":{"0":[7]}}', "custom_data.orders"),
        ('{"orders":{"0":[0]}}', "custom_data.orders"),
    ),
    *custom(
        MSG,
        ("{", "custom_data is not JSON"),
        ("7", "custom_data must be a JSON object"),
        ('{"delay":"soon"}', "custom_data.delay must be a number of seconds, not 'soon'"),
        ('{"delay":-1}', "custom_data.delay must be between 0 and"),
        ('{"delay":NaN}', "custom_data"),
        ('{"delay":1e99}', "custom_data.delay must be between 0 and"),
    ),
    *custom(
        WORKFLOW,
        ("", "custom_data.name must be the workflow's name"),
        ("name", "custom_data is not JSON"),
        ('{"name":""}', "custom_data.name must be the workflow's name"),
        ('{"name":7}', "custom_data.name must be the workflow's name"),
        ('{"name":"n","data":"?"}', "custom_data.data is not base64"),
        ('{"name":"n","data":{}}', "custom_data.data must be text in base64"),
    ),
]
MESSAGE = [
    Bad("a query_prepared that is no url", {**MSG, "query_prepared": "me"}, "query_prepared 'me'"),
    Bad("a query_prepared too long", {**MSG, "query_prepared": "x" * 1025}, "query_prepared has 1025"),
    Bad("a topic without name", {**MSG, "steps": [{"action": "topic://"}]}, "topic not found"),
    Bad("a topic that is none", {**MSG, "steps": [{"action": "topic://none"}]}, "topic not found"),
]
WORKFLOWS = [bad for bad in CUSTOM_DATA if bad.content["trans_type"] == "workflow"]
PREPARED_WORKFLOWS = [
    *WORKFLOWS,
    Bad("a saga", SAGA, "trans_type must be 'workflow' to prepare a workflow, not 'saga'"),
    Bad("no gid", {**WORKFLOW, "gid": ""}, "no gid specified"),
    Bad("a bad url", {**WORKFLOW, "query_prepared": "http:///"}, "query_prepared 'http:///'"),
]
STORING = {
    "submit": [*ANY_TRANSACTION, *(bad for bad in CUSTOM_DATA if bad not in WORKFLOWS), *MESSAGE],
    "prepare": [*ANY_TRANSACTION, *CUSTOM_DATA, *MESSAGE],
    "prepareWorkflow": PREPARED_WORKFLOWS,
}
GRPC_NAMES = {"{steps}": "Steps", "{retry_interval}": "TransOptions.RetryInterval"}


@pytest.mark.parametrize(("operation", "bad", "protocol"), parameters(STORING))
async def test_a_bad_transaction_is_refused_and_not_stored(
    coordinator: CoordinatorProcess, operation: str, bad: Bad, protocol: str
) -> None:
    gid = f"bad-{uuid.uuid4()}"
    sentence = bad.sentence
    for name, grpc_name in GRPC_NAMES.items():
        sentence = sentence.replace(name, grpc_name if protocol == "grpc" else name.strip("{}"))
    async with client_of(protocol, coordinator) as client:
        message = await refused(client, operation, {"gid": gid, **bad.content}, Status.INTERNAL)
    assert message.startswith(sentence), message
    assert await stored(coordinator, gid) == {"transaction": None, "branches": []}


async def stored(coordinator: CoordinatorProcess, gid: str) -> Any:
    return await asyncio.to_thread(coordinator.query, gid)


async def test_a_submit_with_bad_custom_data_leaves_what_is_prepared(
    coordinator: CoordinatorProcess, client: Client
) -> None:
    gid = f"bad-{uuid.uuid4()}"
    prepared = {"gid": gid, **MSG}
    assert (await client.ask("prepare", prepared)).kind == SUCCESS
    wrong = prepared | {"custom_data": '{"delay":"soon"}'}
    assert "custom_data.delay" in await refused(client, "submit", wrong, Status.INTERNAL)
    assert (await stored(coordinator, gid))["transaction"]["status"] == "prepared"
    await client.ask("abort", prepared)


@pytest.mark.parametrize("reason", ["x" * 1025, "a\x00"], ids=["too long", "with a NUL"])
async def test_an_abort_with_a_bad_reason_changes_nothing(
    coordinator: CoordinatorProcess, client: Client, reason: str
) -> None:
    gid = f"bad-{uuid.uuid4()}"
    assert (await client.ask("prepare", {"gid": gid, "trans_type": "tcc"})).kind == SUCCESS
    abort = {"gid": gid, "trans_type": "tcc", "rollback_reason": reason}
    assert "rollback_reason" in await refused(client, "abort", abort, Status.INTERNAL)
    assert (await stored(coordinator, gid))["transaction"]["status"] == "prepared"


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ({}, "req_extra.status must be succeed or failed, not ''"),
        ({"status": "done"}, "req_extra.status must be succeed or failed, not 'done'"),
        (
            {"status": "failed", "rollback_reason": "x" * 1025},
            "req_extra.rollback_reason has 1025 characters",
        ),
        ({"status": "failed", "rollback_reason": "\x00"}, "req_extra.rollback_reason has a NUL"),
        ({"status": "succeed", "result": "x" * 1025}, "req_extra.result has 1025 characters"),
        ({"status": "succeed", "result": "\x00"}, "req_extra.result has a NUL"),
    ],
)
async def test_a_workflow_that_says_badly_how_it_ended_stays_prepared(
    coordinator: CoordinatorProcess, client: Client, extra: Mapping[str, str], sentence: str
) -> None:
    workflow = {"gid": f"bad-{uuid.uuid4()}", **WORKFLOW}
    assert (await client.ask("prepare", workflow)).kind == SUCCESS
    message = await refused(client, "submit", workflow | {"req_extra": extra}, Status.INTERNAL)
    assert message.startswith(sentence)
    assert (await stored(coordinator, workflow["gid"]))["transaction"]["status"] == "prepared"


# ---- branches ----

TCC_BRANCH = {"trans_type": "tcc", "branch_id": "01", "data": "{}", "confirm": URL_OK, "cancel": URL_OK}
XA_BRANCH = {"trans_type": "xa", "branch_id": "01", "data": "{}", "url": URL_OK}
WORKFLOW_BRANCH = {
    "trans_type": "workflow",
    "branch_id": "01",
    "op": "action",
    "status": "succeed",
    "data": "{}",
}
BRANCHES = [
    Bad("no gid", {**TCC_BRANCH, "gid": ""}, "no gid specified"),
    Bad("a gid too long", {**TCC_BRANCH, "gid": "x" * 129}, "gid has 129 characters; at most 128 fit"),
    Bad("no branch_id", {**TCC_BRANCH, "branch_id": ""}, "branch_id is missing"),
    Bad("a branch_id too long", {**XA_BRANCH, "branch_id": "1" * 129}, "branch_id has 129 characters"),
    Bad(
        "a branch_id of two lines",
        {**WORKFLOW_BRANCH, "branch_id": "0\n1"},
        "branch_id '0\\n1' has a control",
    ),
    Bad("data too long", {**TCC_BRANCH, "data": "x" * 65_536}, "data has 65536 bytes; at most 65535 fit"),
    Bad("no trans_type", {"branch_id": "01"}, "unknow trans type: "),
    Bad("an unknown trans_type", {**TCC_BRANCH, "trans_type": "x"}, "unknow trans type: x"),
    Bad("a saga", {**TCC_BRANCH, "trans_type": "saga"}, "unknow trans type: saga"),
    Bad("a message", {**TCC_BRANCH, "trans_type": "msg"}, "unknow trans type: msg"),
    Bad("a confirm that is no url", {**TCC_BRANCH, "confirm": "me"}, "confirm 'me' has no /package.Service"),
    Bad("a cancel without host", {**TCC_BRANCH, "cancel": "http:///a"}, "cancel 'http:///a' has no host"),
    Bad("a cancel too long", {**TCC_BRANCH, "cancel": URL_OK + "x" * 1024}, "cancel has"),
    Bad("an xa url that is none", {**XA_BRANCH, "url": "ftp://a/b/c"}, "url 'ftp://a/b/c'"),
    Bad("an xa url too long", {**XA_BRANCH, "url": URL_OK + "x" * 1024}, "url has"),
    Bad("no op", {**WORKFLOW_BRANCH, "op": ""}, "op is missing"),
    Bad("an op too long", {**WORKFLOW_BRANCH, "op": "x" * 46}, "op has 46 characters; at most 45 fit"),
    Bad("no status", {**WORKFLOW_BRANCH, "status": ""}, "status must be one of prepared, succeed, failed"),
    Bad("an unknown status", {**WORKFLOW_BRANCH, "status": "done"}, "status must be one of"),
    Bad("params that are no text", {**TCC_BRANCH, "confirm": 7}, "confirm: must be a string", ("json-rpc",)),
]


@pytest.mark.parametrize(("operation", "bad", "protocol"), parameters({"registerBranch": BRANCHES}))
async def test_a_bad_branch_is_refused_and_not_stored(
    coordinator: CoordinatorProcess, operation: str, bad: Bad, protocol: str
) -> None:
    gid = f"bad-{uuid.uuid4()}"
    kind = bad.content.get("trans_type")
    prepared = {"gid": gid, "trans_type": kind if kind in {"tcc", "xa"} else "tcc"}
    async with client_of(protocol, coordinator) as client:
        begin = {"gid": gid, **WORKFLOW} if kind == "workflow" else prepared
        assert (await client.ask("prepare", begin)).kind == SUCCESS
        message = await refused(client, operation, {"gid": gid, **bad.content}, Status.UNKNOWN)
    assert message.startswith(bad.sentence), message
    found = await stored(coordinator, gid)
    assert (found["transaction"]["status"], found["branches"]) == ("prepared", [])


# ---- topics ----

SUBSCRIPTIONS = [
    Bad("no topic", {"topic": "", "url": URL_OK}, "empty topic"),
    Bad("no url", {"topic": "TOPIC", "url": ""}, "empty url"),
    Bad("a topic too long", {"topic": "t" * 129, "url": URL_OK}, "topic has 129 characters; at most 128 fit"),
    Bad("a topic of two lines", {"topic": "TOPIC\n", "url": URL_OK}, "topic 'TOPIC\\n' has a control"),
    Bad("a url that cannot be called", {"topic": "TOPIC", "url": "me"}, "url 'me' can be called neither"),
    Bad(
        "a url with a space",
        {"topic": "TOPIC", "url": "http://a b/"},
        "url 'http://a b/' has 'a b' for a h",
    ),
    Bad("a url too long", {"topic": "TOPIC", "url": URL_OK + "x" * 1024}, "url has 1049 characters"),
    Bad("a remark too long", {"topic": "TOPIC", "url": URL_OK, "remark": "r" * 1025}, "remark has 1025 char"),
    Bad(
        "a remark with a NUL",
        {"topic": "TOPIC", "url": URL_OK, "remark": "\x00"},
        "remark has a NUL",
        ("grpc",),
    ),
]
ENDED = [
    Bad("no topic", {"topic": "", "url": URL_OK}, "empty topic"),
    Bad("no url", {"topic": "TOPIC", "url": ""}, "empty url"),
    Bad("an unknown topic", {"topic": "TOPIC", "url": URL_OK}, "no such a topic"),
    Bad("a topic of two lines", {"topic": "TOPIC\n", "url": URL_OK}, "topic 'TOPIC\\n' has a control"),
]
DELETED = [
    Bad("no topic", {"topic": ""}, "empty topic"),
    Bad("an unknown topic", {"topic": "TOPIC"}, "no such a topic"),
    Bad("a topic too long", {"topic": "t" * 129}, "topic has 129 characters; at most 128 fit"),
    Bad("a topic with a NUL", {"topic": "TOPIC\x00"}, "topic 'TOPIC\\x00' has a control", ("grpc",)),
]


@pytest.mark.parametrize(
    ("operation", "bad", "protocol"),
    parameters({"subscribe": SUBSCRIPTIONS, "unsubscribe": ENDED, "topic": DELETED}),
)
async def test_a_bad_subscription_is_refused_and_not_stored(
    coordinator: CoordinatorProcess, operation: str, bad: Bad, protocol: str
) -> None:
    topic = f"bad-{uuid.uuid4()}"
    content = {key: value.replace("TOPIC", topic) for key, value in bad.content.items()}
    async with client_of(protocol, coordinator) as client:
        message = await refused(client, operation, content, Status.UNKNOWN)
    assert message.startswith(bad.sentence.replace("TOPIC", topic)), message
    assert await shown(coordinator, f"queryKV?cat=topics&key={topic}") == (200, {"kv": []})


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_a_topic_holds_no_more_subscribers_than_a_message_may_have_calls(
    coordinator: CoordinatorProcess, protocol: str
) -> None:
    topic = f"bad-{uuid.uuid4()}"
    async with client_of(protocol, coordinator) as client:
        for number in range(11):
            subscription = {"topic": topic, "url": f"http://127.0.0.1:1/{number}"}
            assert (await client.ask("subscribe", subscription)).kind == SUCCESS
        gid = f"bad-{uuid.uuid4()}"
        steps = [{"action": f"topic://{topic}"}] * 100
        for operation in ("submit", "prepare"):
            content = {"gid": gid, "trans_type": "msg", "steps": steps, "payloads": ["{}"] * 100}
            message = await refused(client, operation, content, Status.INTERNAL)
            assert message == "1100 calls, topics' subscribers counted; at most 1000 fit"
    assert await stored(coordinator, gid) == {"transaction": None, "branches": []}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_a_full_topic_takes_no_further_subscriber_and_keeps_those_it_has(
    coordinator: CoordinatorProcess, protocol: str
) -> None:
    topic, padding = f"bad-{uuid.uuid4()}", "x" * 990
    async with client_of(protocol, coordinator) as client:
        for number in range(100):  # a subscriber of 2 KB each, where a topic has 64
            content = {"topic": topic, "url": f"http://127.0.0.1:1/{number:02d}{padding}", "remark": padding}
            outcome = await client.ask("subscribe", content)
            if outcome.kind != SUCCESS:
                break
    assert outcome.kind == ERROR
    assert (
        outcome.message == f"topic '{topic}' is full: {number} subscribers fill the 65535 bytes that it has"
    )
    assert outcome.code == (500 if protocol == "http" else Status.UNKNOWN.value)
    _, found = await shown(coordinator, f"queryKV?cat=topics&key={topic}")
    assert len(json.loads(found["kv"][0]["v"])) == number


# ---- what people and consoles ask: HTTP alone ----


async def shown(coordinator: CoordinatorProcess, path: str) -> tuple[int, Any]:
    url = URL(f"{coordinator.api_url}/{path}", encoded=True)
    async with ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("query", "no gid specified"),
        ("query?gid=%00", "the query string has a NUL character, in gid"),
        ("query?gid=%ff", "the query string is not UTF-8"),
        ("query?gid=%zz", "the query string has a % without two hexadecimal digits"),
        ("all?status=%00", "the query string has a NUL character, in status"),
        ("all?limit=ten", "convert to int error: ten, in limit"),
        ("all?limit=1.5", "convert to int error: 1.5, in limit"),
        ("all?position=x", "convert to int error: x, in position"),
        ("all?position=-1", "position: must be the next_position of a previous answer"),
        (f"all?position={2**63}", "position: must be the next_position of a previous answer"),
        ("all?createTimeStart=now", "convert to int error: now, in createTimeStart"),
        ("all?createTimeStart=-1", "createTimeStart: must be milliseconds since 1970"),
        (f"all?createTimeEnd={10**18}", "createTimeEnd: must be milliseconds since 1970"),
        ("resetCronTime?timeout=-1", "timeout: must be from 0 to"),
        (f"resetCronTime?timeout={10**12}", "timeout: must be from 0 to"),
        ("resetCronTime?limit=all", "convert to int error: all, in limit"),
        ("scanKV?limit=x", "convert to int error: x, in limit"),
        ("scanKV?position=-7", "position: must be the next_position of a previous answer"),
        ("scanKV?cat=%00", "the query string has a NUL character, in cat"),
        ("queryKV?cat=topics&key=%00", "the query string has a NUL character, in key"),
    ],
)
async def test_a_bad_parameter_is_named(coordinator: CoordinatorProcess, path: str, sentence: str) -> None:
    status, answer = await shown(coordinator, path)
    assert status == 500
    assert answer.keys() == {"message"}
    assert answer["message"].startswith(sentence)


@pytest.mark.parametrize("path", ["topic/%00", "topic/a%00b", "topic/%ff", "topic/", "topic/a/b"])
async def test_a_topic_that_no_path_can_name_is_none(coordinator: CoordinatorProcess, path: str) -> None:
    url = URL(f"{coordinator.api_url}/{path}", encoded=True)
    async with ClientSession() as session, session.delete(url) as answer:
        assert answer.status == 500
        assert (await answer.json())["message"] in {
            "no such a topic",
            "empty topic",
            "topic '\\x00' has a control character",
            "topic 'a\\x00b' has a control character",
        }


async def test_the_coordinator_lives_after_all_that(coordinator: CoordinatorProcess) -> None:
    assert coordinator.is_running
    assert '"stacktrace"' not in coordinator.output()
