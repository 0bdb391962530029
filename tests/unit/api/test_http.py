"""The HTTP API against a fake service: answers, and bad input endpoint by endpoint (PROTOCOL §2, §3)."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from loguru import logger
from yarl import URL

from coordinator.api.listing import PAGE_MAX
from coordinator.errors import (
    Busy,
    Conflict,
    DtmError,
    Failure,
    Invalid,
    NotFound,
    Ongoing,
    Stopping,
    StoreUnavailable,
)
from coordinator.model import Branch, BranchRequest, BranchStatus, Status, Transaction
from coordinator.store.base import KeyValue, Stored
from coordinator.store.listed import Filter
from tests.unit.api.fakes import Http

JSON = "application/json; charset=utf-8"
SUCCESS = (200, JSON, '{"dtm_result":"SUCCESS"}')


# ---- plain use ----


async def test_new_gid(http: Http) -> None:
    status, kind, text = await http.call("GET", "/api/dtmsvr/newGid")
    assert (status, kind, json.loads(text)) == (200, JSON, {"gid": "gid-1", "dtm_result": "SUCCESS"})


@pytest.mark.parametrize("name", ["submit", "prepare", "abort"])
async def test_a_transaction_reaches_the_service(http: Http, name: str) -> None:
    assert await http.post(name, '{"gid":"g1","trans_type":"saga"}') == SUCCESS
    [(asked, request)] = http.service.asked
    assert (asked, request.gid, request.trans_type) == (name, "g1", "saga")


@pytest.mark.parametrize(
    ("path", "asked"), [("forceStop", "force_stop"), ("resetNextCronTime", "reset_next_cron_time")]
)
async def test_a_gid_reaches_the_service(http: Http, path: str, asked: str) -> None:
    assert await http.post(path, '{"gid":"g1"}') == SUCCESS
    assert http.service.asked == [(asked, "g1")]


async def test_the_body_is_json_whatever_the_content_type_says(http: Http) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "nonsense", ""):
        async with http.session.post(
            f"{http.url}/api/dtmsvr/submit", data=b'{"gid":"g1"}', headers={"Content-Type": kind}
        ) as answer:
            assert answer.status == 200


async def test_query(http: Http) -> None:
    http.service.stored = Stored(Transaction(gid="g 1", trans_type="saga", status=Status.SUCCEED), ())
    status, kind, text = await http.call("GET", "/api/dtmsvr/query?gid=g%201&gid=other")
    assert (status, kind) == (200, JSON)
    assert json.loads(text)["transaction"]["status"] == "succeed"
    assert http.service.asked == [("query", "g 1")]


async def test_query_of_an_unknown_gid_is_null(http: Http) -> None:
    _, _, text = await http.call("GET", "/api/dtmsvr/query?gid=none")
    assert json.loads(text) == {"transaction": None, "branches": []}


async def test_all_in_pages(http: Http) -> None:
    http.service.transactions = [
        Transaction(gid=f"g{number}", trans_type="saga", status=Status.SUCCEED, id=number)
        for number in (9, 8, 7)
    ]
    _, _, text = await http.call("GET", "/api/dtmsvr/all?limit=2&position=10&status=succeed")
    page = json.loads(text)
    assert [row["gid"] for row in page["transactions"]] == ["g9", "g8"]
    assert page["next_position"] == "8"
    assert http.service.asked == [("all", Filter(status="succeed", limit=2, before_id=10))]


async def test_all_when_nothing_is_found(http: Http) -> None:
    """PROTOCOL §3: null is only the answer to a gid that nobody has."""
    for asked, found in (("", []), ("?status=succeed", []), ("?gid=", []), ("?gid=nobody", None)):
        _, _, text = await http.call("GET", f"/api/dtmsvr/all{asked}")
        assert json.loads(text) == {"transactions": found, "next_position": ""}


async def test_reset_cron_time(http: Http) -> None:
    _, _, text = await http.call("GET", "/api/dtmsvr/resetCronTime?timeout=60&limit=0")
    assert json.loads(text) == {"succeed_count": 3, "has_remaining": True}
    assert http.service.asked == [("reset_cron_time", (60.0, PAGE_MAX))]


async def test_version(http: Http) -> None:
    assert await http.call("GET", "/api/dtmsvr/version") == (
        *(
            200,
            JSON,
            '{"version":"1.2.3","features":["failure_statuses","step_headers","step_results","workflow_sleep"]}',
        ),
    )


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
async def test_ping_answers_any_method(http: Http, method: str) -> None:
    assert await http.call(method, "/api/ping") == (200, JSON, '{"msg":"pong"}')


async def test_ready_says_what_is_not(http: Http) -> None:
    assert await http.call("GET", "/api/ready") == (200, JSON, '{"ready":true}')
    http.readiness.found = {"store": "away"}
    status, kind, text = await http.call("GET", "/api/ready")
    assert (status, kind, json.loads(text)) == (503, JSON, {"ready": False, "problems": {"store": "away"}})


async def test_metrics_count_every_call_once(http: Http) -> None:
    await http.post("submit", "{}")
    await http.post("submit", "no json")
    await http.call("GET", "/api/dtmsvr/all?limit=abc")
    await http.call("GET", "/api/nothing")
    status, kind, text = await http.call("GET", "/api/metrics")
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    assert 'dtm_server_process_total{api="submit",status="ok",type="http"} 1.0' in text
    assert 'dtm_server_process_total{api="submit",status="fail",type="http"} 1.0' in text
    assert 'dtm_server_process_total{api="all",status="fail",type="http"} 1.0' in text
    assert 'dtm_server_response_duration_count{api="submit",type="http"} 2.0' in text
    assert "nothing" not in text


# ---- errors ----

GETS = (
    *("/api/openapi.json", "/api/ping", "/api/health", "/api/ready", "/api/metrics"),
    *(
        f"/api/dtmsvr/{name}"
        for name in ("newGid", "query?gid=a", "query", "all", "all?limit=x", "resetCronTime", "version")
    ),
    *(f"/api/dtmsvr/{name}" for name in ("subscribe?topic=a&url=b", "unsubscribe?topic=a&url=b")),
    *(f"/api/dtmsvr/{name}" for name in ("scanKV?cat=topics", "queryKV?cat=topics&key=a")),
    *(f"/api/operate/{name}" for name in ("inbox", "nodes", "audit", "transactions?filter=status:aborting")),
    *(f"/api/operate/{name}" for name in ("endpoints", "holds", "holds/preview?endpoint=a&seconds=60")),
    *(f"/api/operate/bulk{rest}" for rest in ("", "/{id}", "/{id}/items", "/preview?action=retry")),
    *(f"/api/operate/transactions/{{gid}}{rest}" for rest in ("", "/preview?action=retry")),
)


async def test_every_get_is_tried_with_head(http: Http) -> None:
    tried = {path.partition("?")[0] for path in GETS}
    assert {path for method, path in http.routes if method in {"GET", "*"}} == tried


ERRORS: list[tuple[DtmError, int, dict[str, str]]] = [
    (Failure("no money"), 409, {"dtm_result": "FAILURE", "message": "no money FAILURE"}),
    (Ongoing(), 425, {"dtm_result": "ONGOING", "message": "ONGOING"}),
    (Invalid("no gid specified"), 500, {"message": "no gid specified"}),
    (NotFound.of_gid("g1"), 500, {"message": "no TransGlobal with gid: g1 found"}),
    (Conflict("taken"), 500, {"message": "taken"}),
    (Busy("too much", hint="wait"), 503, {"message": "too much"}),
    (Stopping("going", hint="wait"), 503, {"message": "going"}),
    (StoreUnavailable("away"), 500, {"message": "away"}),
]


@pytest.mark.parametrize(("error", "status", "content"), ERRORS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", ["submit", "forceStop"])
async def test_an_error_has_the_answer_of_its_class(
    http: Http, name: str, error: DtmError, status: int, content: dict[str, str]
) -> None:
    http.service.error = error
    got_status, kind, text = await http.post(name, '{"gid":"g1"}')
    assert (got_status, kind, json.loads(text)) == (status, JSON, content)


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}])
@pytest.mark.parametrize("error", [Busy("too much"), Stopping("going"), Invalid("bad")])
async def test_who_was_not_taken_is_told_when_to_ask_again(
    http: Http, error: DtmError, headers: dict[str, str]
) -> None:
    """PROTOCOL §2."""
    http.service.error = error
    async with http.session.post(f"{http.url}/api/dtmsvr/submit", data="{}", headers=headers) as answer:
        wait = answer.headers.get("Retry-After", "")
    assert wait.isdecimal() == (error.http_status == 503)


@pytest.mark.parametrize("path", GETS)
async def test_head_answers_what_get_does(http: Http, path: str) -> None:
    got, head = await http.session.get(http.url + path), await http.session.head(http.url + path)
    body = await got.read()
    assert (head.status, head.headers["Content-Type"]) == (got.status, got.headers["Content-Type"])
    if "metrics" not in path:
        assert head.headers["Content-Length"] == str(len(body))
    assert await head.read() == b""


async def test_a_fault_of_ours_is_logged_and_tells_nothing_of_the_inside(http: Http) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message} {exception}", diagnose=False)
    http.service.error = RuntimeError("secret")
    status, kind, text = await http.post("submit", '{"gid":"g1"}')
    logger.remove(sink)
    assert (status, kind) == (500, JSON)
    assert "internal error" in json.loads(text)["message"]
    assert "secret" not in text
    assert "POST /api/dtmsvr/submit failed" in lines[0]
    assert "RuntimeError: secret" in lines[0]


@pytest.mark.parametrize("name", ["registerBranch", "registerTccBranch", "registerXaBranch"])
async def test_a_branch_is_registered(http: Http, name: str) -> None:
    """PROTOCOL §5: a flat object of strings; null is as absent."""
    body = {"gid": "g;1", "trans_type": "tcc", "branch_id": "01", "data": "é", "cancel": "c", "confirm": None}
    assert await http.post(name, json.dumps(body)) == (200, JSON, '{"dtm_result":"SUCCESS"}')
    wanted = BranchRequest("g1", "tcc", "01", "é".encode(), {"cancel": "c"})
    assert http.service.asked == [("register", wanted)]


@pytest.mark.parametrize("body", ["no json", "[]", '{"gid":1}', '{"cancel":{}}'])
async def test_a_branch_that_cannot_be_read_is_400(http: Http, body: str) -> None:
    """PROTOCOL §2: only registerBranch and its aliases may say 400."""
    status, kind, text = await http.post("registerBranch", body)
    assert (status, kind) == (400, JSON)
    assert json.loads(text)["message"]
    assert http.service.asked == []


async def test_a_workflow_is_prepared_and_its_progress_told(http: Http) -> None:
    workflow = Transaction("g1", "workflow", Status.PREPARED)
    step = Branch("g1", "01", "action", "", b"done", BranchStatus.SUCCEED)
    http.service.stored = Stored(workflow, (step,))
    status, _, text = await http.post("prepareWorkflow", '{"gid":"g1","trans_type":"workflow"}')
    answer = json.loads(text)
    assert (status, answer["transaction"]["status"]) == (200, "prepared")
    assert [(it["branch_id"], it["op"], it["bin_data"]) for it in answer["progresses"]] == [
        ("01", "action", "ZG9uZQ==")
    ]


async def test_topics_are_subscribed_to(http: Http) -> None:
    base = "/api/dtmsvr"
    for method, path in (
        ("GET", "subscribe?topic=t&url=http%3A%2F%2Fa%2F%3Fx%3D1&remark=r"),
        ("GET", "unsubscribe?topic=t&url=u"),
        ("DELETE", "topic/a%2Fb"),
    ):
        assert (await http.call(method, f"{base}/{path}"))[0] == 200
    assert http.service.asked == [
        ("subscribe", ("t", "http://a/?x=1", "r")),
        ("unsubscribe", ("t", "u")),
        ("delete", "a/b"),
    ]


async def test_a_query_may_be_as_long_as_its_longest_values(http: Http) -> None:
    """PROTOCOL §8: 128, 1024 and 1024 characters, each of which may take twelve when it is escaped."""
    topic, url, remark = "😀" * 128, "http://a/" + "😀" * 1015, "😀" * 1024
    path = URL(f"{http.url}/api/dtmsvr/subscribe").with_query(topic=topic, url=url, remark=remark)
    async with http.session.get(path) as answer:
        assert answer.status == 200
    assert http.service.asked == [("subscribe", (topic, url, remark))]


async def test_shared_values_are_shown_page_by_page(http: Http) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    http.service.values = [KeyValue("topics", f"t{n}", "[]", 1, now, now, id=n) for n in (9, 8)]
    _, _, text = await http.call("GET", "/api/dtmsvr/scanKV?cat=topics&limit=1&position=10")
    time = "2026-01-01T00:00:00Z"
    row = {"id": 9, "create_time": time, "update_time": time, "cat": "topics", "k": "t9", "v": "[]"}
    assert json.loads(text) == {"kv": [row | {"version": 1}], "next_position": "9"}
    assert http.service.asked == [("list_values", ("topics", 2, 10))]
    _, _, text = await http.call("GET", "/api/dtmsvr/queryKV?cat=topics&key=t9")
    assert json.loads(text) == {"kv": [row | {"version": 1}]}


@pytest.mark.parametrize("path", ["scanKV?limit=x", "scanKV?position=x", "scanKV?position=-1"])
async def test_a_page_that_is_no_number_is_an_error(http: Http, path: str) -> None:
    status, _, text = await http.call("GET", f"/api/dtmsvr/{path}")
    assert status == 500
    assert json.loads(text)["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/dtmsvr/submit"),
        ("PUT", "/api/dtmsvr/submit"),
        ("HEAD", "/api/dtmsvr/submit"),
        ("HEAD", "/api/dtmsvr/nothing"),
        ("POST", "/api/dtmsvr/newGid"),
        ("POST", "/api/dtmsvr/query"),
        ("GET", "/api/dtmsvr/topic/t"),
        ("GET", "/api/dtmsvr/nothing"),
        ("GET", "/api/dtmsvr/submit/"),
        ("GET", "/api/dtmsvr/NEWGID"),
        ("POST", "/api/dtmsvr"),
        ("GET", "/api/json-rpc"),
        ("GET", "/"),
        ("GET", "/%ff%zz"),
    ],
)
async def test_an_unknown_path_or_method_is_not_found(http: Http, method: str, path: str) -> None:
    status, kind, text = await http.call(method, path)
    assert (status, kind) == (404, "text/plain")
    assert text == ("" if method == "HEAD" else "404 page not found")


BAD_BODIES = [
    (b"", "the body is empty where JSON is expected"),
    (b"no json", "the body is not JSON"),
    (b"null", "the body: must be a JSON object, not null"),
    (b"[]", "the body: must be a JSON object, not an array"),
    (b'{"gid":"a"} more', "the body is not JSON"),
    (b'{"gid":"\xff"}', "the body is not UTF-8: byte 0xff at position 8"),
    (b'{"gid":1}', "gid: must be a string, not a number"),
]


@pytest.mark.parametrize(("body", "sentence"), BAD_BODIES, ids=range(len(BAD_BODIES)))
@pytest.mark.parametrize("name", ["submit", "prepare", "abort", "forceStop", "resetNextCronTime"])
async def test_a_bad_body_is_named(http: Http, name: str, body: bytes, sentence: str) -> None:
    status, kind, text = await http.post(name, body)
    assert (status, kind) == (500, JSON)
    assert json.loads(text)["message"].startswith(sentence)
    assert http.service.asked == []


BAD_QUERIES = [
    ("all?limit=abc", "convert to int error: abc, in limit"),
    ("all?position=abc", "convert to int error: abc, in position"),
    ("all?createTimeStart=abc", "convert to int error: abc, in createTimeStart"),
    ("all?createTimeEnd=" + "9" * 30, "createTimeEnd: must be milliseconds since 1970"),
    ("all?status=%zz", "the query string has a % without two hexadecimal digits at position 7"),
    ("all?status=%f", "the query string has a % without two hexadecimal digits at position 7"),
    ("all?status=%ff", "the query string is not UTF-8"),
    (
        "all?" + "&".join(f"a{number}=1" for number in range(101)),
        "the query string has more than 100 parameters",
    ),
    ("query?gid=%ff", "the query string is not UTF-8"),
    ("resetCronTime?timeout=soon", "convert to int error: soon, in timeout"),
    ("resetCronTime?timeout=-1", "timeout: must be from 0 to"),
    ("resetCronTime?limit=few", "convert to int error: few, in limit"),
]


@pytest.mark.parametrize(("path", "sentence"), BAD_QUERIES, ids=range(len(BAD_QUERIES)))
async def test_bad_parameters_are_named(http: Http, path: str, sentence: str) -> None:
    async with http.session.get(URL(f"{http.url}/api/dtmsvr/{path}", encoded=True)) as answer:
        assert answer.status == 500
        assert (await answer.json())["message"].startswith(sentence)
    assert http.service.asked == []


# ---- clients that leave ----


async def test_a_client_that_goes_away_does_not_cancel_what_it_asked_for(http: Http) -> None:
    http.service.hold = asyncio.Event()
    _, writer = await asyncio.open_connection("127.0.0.1", http.port)
    writer.write(b"POST /api/dtmsvr/submit HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
    await http.service.was_asked.wait()
    writer.close()
    await writer.wait_closed()
    http.service.hold.set()
    await asyncio.wait_for(http.service.has_finished.wait(), 30)
