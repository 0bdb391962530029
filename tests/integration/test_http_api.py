"""The HTTP API of a running coordinator on SQLite, with a branch beside it (PROTOCOL §2, §3, §5)."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.support.branch_server import BranchServer, branch_server
from tests.support.under_test import CoordinatorProcess

JSON = "application/json; charset=utf-8"
SUCCESS = (200, {"dtm_result": "SUCCESS"})
BODY_BYTES_MAX = 4 * 1024 * 1024


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorProcess]:
    """One for all tests here: each uses gids of its own."""
    process = CoordinatorProcess(tmp_path_factory.mktemp("coordinator")).start()
    yield process
    print(process.output())
    process.close()


class Branch:
    """The branch server, and sagas on it."""

    def __init__(self, server: BranchServer) -> None:
        self.url = server.http_url
        self._server = server

    @property
    def asked(self) -> list[tuple[str, str, str]]:
        """Path, op and body of each call."""
        return [(it.path, it.op, it.body) for it in self._server.asked]

    def saga(self, *actions: str, **more: Any) -> dict[str, Any]:
        return {
            "gid": f"http-{uuid.uuid4()}",
            "trans_type": "saga",
            "steps": [
                {"action": f"{self.url}/{action}", "compensate": f"{self.url}/ok/undo"} for action in actions
            ],
            "payloads": ['{"amount":30}'] * len(actions),
            "wait_result": True,
            **more,
        }


@pytest.fixture
async def branch() -> AsyncIterator[Branch]:
    async with branch_server() as server:
        yield Branch(server)


class Api:
    """A client of the coordinator."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Returns status and answer; a body that is no bytes is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        async with self._session.request(method, f"{self._url}/{path}", data=data) as answer:
            assert answer.headers["Content-Type"] == JSON
            return answer.status, await answer.json()

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        return await self.call("POST", path, body)

    async def get(self, path: str) -> tuple[int, Any]:
        return await self.call("GET", path)

    async def rows(self, gid: str) -> tuple[str, dict[str, str]]:
        """The transaction's status, and that of each branch by `01/action`."""
        _, found = await self.get(f"query?gid={gid}")
        branches = {f"{row['branch_id']}/{row['op']}": row["status"] for row in found["branches"]}
        return found["transaction"]["status"], branches


@pytest.fixture
async def api(coordinator: CoordinatorProcess) -> AsyncIterator[Api]:
    async with ClientSession() as session:
        yield Api(session, coordinator.api_url)


# ---- sagas ----


async def test_a_saga_succeeds_and_shows_in_query_and_all(api: Api, branch: Branch) -> None:
    saga = branch.saga("ok/1", "ok/2")
    assert await api.post("submit", saga) == SUCCESS
    assert branch.asked == [("/ok/1", "action", '{"amount":30}'), ("/ok/2", "action", '{"amount":30}')]
    _, found = await api.get(f"query?gid={saga['gid']}")
    transaction = found["transaction"]
    assert (
        transaction.items()
        >= {
            "gid": saga["gid"],
            "trans_type": "saga",
            "status": "succeed",
            "protocol": "http",
            "options": '{"wait_result":true,"concurrent":false}',
            "next_cron_interval": 10,
            "concurrent": False,
        }.items()
    )
    assert {"id", "create_time", "update_time", "finish_time", "next_cron_time"} <= transaction.keys()
    assert (
        not {"rollback_time", "rollback_reason", "result", "ext_data", "query_prepared"} & transaction.keys()
    )
    assert [(row["branch_id"], row["op"], row["status"]) for row in found["branches"]] == [
        ("01", "compensate", "prepared"),
        ("01", "action", "succeed"),
        ("02", "compensate", "prepared"),
        ("02", "action", "succeed"),
    ]
    assert found["branches"][1]["bin_data"] == "eyJhbW91bnQiOjMwfQ=="
    _, listed = await api.get(f"all?gid={saga['gid']}")
    assert listed == {"transactions": [transaction], "next_position": ""}


async def test_a_saga_that_fails_is_rolled_back(api: Api, branch: Branch) -> None:
    saga = branch.saga("ok/1", "fail/2")
    reason = f'url:{branch.url}/fail/2 return failed: {{"dtm_result":"FAILURE","message":"no money"}} FAILURE'
    assert await api.post("submit", saga) == (409, {"dtm_result": "FAILURE", "message": reason})
    assert await api.rows(saga["gid"]) == (
        "failed",
        {
            "01/compensate": "succeed",
            "01/action": "succeed",
            "02/compensate": "succeed",
            "02/action": "failed",
        },
    )
    _, found = await api.get(f"query?gid={saga['gid']}")
    assert found["transaction"]["rollback_reason"] == reason


@pytest.mark.parametrize("action", ["ongoing/1", "boom/1"])
async def test_a_saga_without_a_result_is_no_success_and_goes_on(
    api: Api, branch: Branch, action: str
) -> None:
    saga = branch.saga(action)
    assert await api.post("submit", saga) == (
        409,
        {"dtm_result": "FAILURE", "message": "wait result not return success: FAILURE"},
    )
    assert await api.rows(saga["gid"]) == (
        "submitted",
        {"01/compensate": "prepared", "01/action": "prepared"},
    )


async def test_not_waiting_is_answered_before_the_branch_is_called(api: Api, branch: Branch) -> None:
    saga = branch.saga("ok/1", wait_result=False)
    assert await api.post("submit", saga) == SUCCESS
    async with asyncio.timeout(30):
        while (await api.rows(saga["gid"]))[0] != "succeed":  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.02)


async def test_payloads_of_old_clients_reach_the_branch(api: Api, branch: Branch) -> None:
    saga = branch.saga("ok/1")
    del saga["payloads"]
    saga["steps"][0]["data"] = '{"a":"ü"}'
    assert await api.post("submit", saga) == SUCCESS
    assert branch.asked == [("/ok/1", "action", '{"a":"ü"}')]


async def test_a_prepared_saga_waits_for_its_submit(api: Api, branch: Branch) -> None:
    saga = branch.saga("ok/1")
    assert await api.post("prepare", saga) == SUCCESS
    assert await api.post("prepare", saga) == SUCCESS
    assert (await api.rows(saga["gid"]))[0] == "prepared"
    assert branch.asked == []
    assert await api.post("submit", saga) == SUCCESS
    assert (await api.rows(saga["gid"]))[0] == "succeed"


async def test_a_final_transaction_takes_no_call_any_more(api: Api, branch: Branch) -> None:
    saga = branch.saga("ok/1")
    await api.post("submit", saga)
    for path, message in (
        ("submit", "current status 'succeed', cannot sumbmit. FAILURE"),
        ("prepare", "current status 'succeed', cannot prepare. FAILURE"),
        ("abort", "trans type: 'saga' current status 'succeed', cannot abort. FAILURE"),
        ("forceStop", "global transaction force stop error. status: succeed. error: FAILURE"),
    ):
        assert await api.post(path, saga) == (409, {"dtm_result": "FAILURE", "message": message})
    assert len(branch.asked) == 1


async def test_two_submits_of_one_gid_at_the_same_moment_call_the_branch_once(
    api: Api, branch: Branch
) -> None:
    sagas = [branch.saga("ok/1", "ok/2") for _ in range(10)]
    answers = await asyncio.gather(*[api.post("submit", saga) for saga in sagas for _ in range(3)])
    late = [answer for answer in answers if answer != SUCCESS]  # those that came after the end
    assert all(status == 409 and "cannot sumbmit" in content["message"] for status, content in late)
    assert len(branch.asked) == 20


async def test_a_forced_stop_ends_a_saga_that_does_not_get_on(api: Api, branch: Branch) -> None:
    saga = branch.saga("boom/1")
    await api.post("submit", saga)
    assert await api.post("forceStop", {"gid": saga["gid"]}) == SUCCESS
    assert (await api.rows(saga["gid"]))[0] == "failed"


async def test_a_reset_makes_a_waiting_saga_due(api: Api, branch: Branch) -> None:
    saga = branch.saga("boom/1")
    await api.post("submit", saga)
    asked = len(branch.asked)
    assert await api.post("resetNextCronTime", {"gid": saga["gid"]}) == SUCCESS
    async with asyncio.timeout(30):
        while len(branch.asked) == asked:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.02)
    await api.post("forceStop", {"gid": saga["gid"]})


async def test_a_reset_of_all_says_how_many(api: Api, branch: Branch) -> None:
    sagas = [branch.saga("boom/1", retry_interval=1000) for _ in range(3)]
    for saga in sagas:
        await api.post("submit", saga)
    assert await api.get("resetCronTime?timeout=500&limit=2") == (
        200,
        {"succeed_count": 2, "has_remaining": True},
    )
    _, rest = await api.get("resetCronTime?timeout=500")  # the two may have been driven in vain again by now
    assert rest["succeed_count"] >= 1
    assert rest["has_remaining"] is False
    for saga in sagas:
        await api.post("forceStop", saga)


async def test_pages_of_all_hold_every_transaction_once(api: Api, branch: Branch) -> None:
    gids = [branch.saga()["gid"] for _ in range(7)]
    for gid in gids:
        assert await api.post("submit", {"gid": gid, "trans_type": "saga"}) == SUCCESS
    seen: list[str] = []
    position = ""
    while True:
        _, page = await api.get(f"all?limit=3&position={position}")
        seen += [row["gid"] for row in page["transactions"]]
        position = page["next_position"]
        if not position:
            break
        assert len(page["transactions"]) == 3
    assert len(seen) == len(set(seen))
    assert [gid for gid in seen if gid in gids] == gids[::-1]  # newest first
    _, succeeded = await api.get("all?status=succeed&transType=saga")
    assert {row["status"] for row in succeeded["transactions"]} == {"succeed"}
    assert await api.get("all?status=nonsense") == (200, {"transactions": [], "next_position": ""})
    assert await api.get("all?createTimeEnd=1000") == (200, {"transactions": [], "next_position": ""})
    assert await api.get("all?gid=nobody") == (200, {"transactions": None, "next_position": ""})


# ---- bad input: nothing is stored, nobody is called ----


GOOD = {
    "trans_type": "saga",
    "steps": [{"action": "http://127.0.0.1:1/a", "compensate": "http://127.0.0.1:1/b"}],
    "payloads": ["{}"],
}
BAD_SUBMITS: list[tuple[str, Any, str]] = [
    ("not JSON", b"no json", "the body is not JSON"),
    ("text after the JSON", b'{"gid":"x"} more', "the body is not JSON"),
    ("null", b"null", "the body: must be a JSON object"),
    ("not UTF-8", b'{"gid":"\xff"}', "the body is not UTF-8"),
    ("a wrong type", {**GOOD, "steps": [{"action": 1}]}, "steps[0].action: must be a string"),
    ("2.0 for an integer", {**GOOD, "timeout_to_fail": 2.0}, "timeout_to_fail: must be an integer"),
    ("text for a flag", {**GOOD, "wait_result": "true"}, "wait_result: must be true or false"),
    ("a negative time", {**GOOD, "request_timeout": -1}, "request_timeout: must not be negative"),
    ("a time beyond its column", {**GOOD, "timeout_to_fail": 2**40}, "timeout_to_fail must be between"),
    ("an unknown trans_type", {**GOOD, "trans_type": "magic"}, "unknown trans_type 'magic'"),
    ("no trans_type", {"gid": "x"}, "unknown trans_type ''"),
    ("no gid", {**GOOD, "gid": ""}, "no gid specified"),
    ("a gid of dropped characters", {**GOOD, "gid": "\n;\r"}, "no gid specified"),
    ("a gid too long", {**GOOD, "gid": "x" * 129}, "gid has 129 characters; at most 128 fit"),
    ("a payload too long", {**GOOD, "payloads": ["x" * 65_536]}, "payloads[0] has 65536 bytes"),
    ("custom_data too long", {**GOOD, "custom_data": "x" * 1025}, "custom_data has 1025 characters"),
    ("fewer payloads than steps", {**GOOD, "payloads": []}, "1 step but 0 payloads"),
    ("more payloads than steps", {**GOOD, "payloads": ["{}", "{}"]}, "1 step but 2 payloads"),
    ("a url without host", {**GOOD, "steps": [{"action": "http:///a"}]}, "steps[0].action 'http:///a'"),
    ("no url", {**GOOD, "steps": [{"compensate": "nonsense"}]}, "steps[0].compensate 'nonsense'"),
    ("a header that is none", {**GOOD, "branch_headers": {"a b": "c"}}, "branch_headers has 'a b'"),
    ("orders in a circle", {**GOOD, "custom_data": '{"concurrent":true,"orders":{"0":[0]}}'}, ""),
]


@pytest.mark.parametrize(
    ("body", "sentence"), [row[1:] for row in BAD_SUBMITS], ids=[row[0] for row in BAD_SUBMITS]
)
@pytest.mark.parametrize("call", ["submit", "prepare"])
async def test_bad_input_is_refused_and_not_stored(api: Api, call: str, body: Any, sentence: str) -> None:
    gid = f"bad-{uuid.uuid4()}"
    if isinstance(body, dict):
        body = {"gid": gid, **body}
    status, answer = await api.post(call, body)
    assert status == 500
    assert answer["message"].startswith(sentence)
    assert answer.keys() == {"message"}
    assert await api.get(f"query?gid={gid}") == (200, {"transaction": None, "branches": []})


async def in_chunks() -> AsyncIterator[bytes]:
    for _ in range(5):
        yield b" " * (1024 * 1024)


async def announced() -> AsyncIterator[bytes]:
    for _ in range(4):
        yield b" " * (1024 * 1024)
    yield b" "


@pytest.mark.parametrize("data", [in_chunks, announced], ids=["in chunks", "with its length"])
async def test_a_body_over_the_limit_is_refused(coordinator: CoordinatorProcess, data: Any) -> None:
    length = {"Content-Length": str(BODY_BYTES_MAX + 1)} if data is announced else {}
    async with (
        ClientSession() as session,
        session.post(f"{coordinator.api_url}/submit", data=data(), headers=length) as answer,
    ):
        assert answer.status == 500
        message = (await answer.json())["message"]
    assert message.startswith(f"the body must have at most {BODY_BYTES_MAX} bytes")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("forceStop", "no TransGlobal with gid: nobody found"),
        ("resetNextCronTime", "no TransGlobal with gid: nobody found"),
        ("abort", "no TransGlobal with gid: nobody found"),
    ],
)
async def test_an_unknown_gid_is_named(api: Api, path: str, message: str) -> None:
    assert await api.post(path, {"gid": "nobody", "trans_type": "saga"}) == (500, {"message": message})


@pytest.mark.parametrize("path", ["forceStop", "resetNextCronTime", "abort"])
async def test_a_missing_gid_is_an_error(api: Api, path: str) -> None:
    assert await api.post(path, {}) == (500, {"message": "no gid specified"})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("query", "no gid specified"),
        ("query?gid=", "no gid specified"),
        ("all?limit=abc", "convert to int error: abc, in limit"),
        ("all?position=-1", "position: must be the next_position of a previous answer, not -1"),
        ("resetCronTime?timeout=x", "convert to int error: x, in timeout"),
    ],
)
async def test_bad_parameters_are_an_error(api: Api, path: str, message: str) -> None:
    assert await api.get(path) == (500, {"message": message})


async def test_abort_believes_the_stored_type(api: Api, branch: Branch) -> None:
    saga = branch.saga("ok/1")
    await api.post("prepare", saga)
    status, answer = await api.post("abort", {"gid": saga["gid"], "trans_type": "tcc"})
    assert (status, answer["dtm_result"]) == (409, "FAILURE")
    assert (await api.rows(saga["gid"]))[0] == "prepared"


# ---- around it ----


async def test_new_gids_are_short_and_all_different(api: Api) -> None:
    gids = {(await api.get("newGid"))[1]["gid"] for _ in range(50)}
    assert len(gids) == 50
    assert all(0 < len(gid) <= 22 and gid.isalnum() for gid in gids)


async def test_version_ping_ready_and_metrics(
    coordinator: CoordinatorProcess, api: Api, branch: Branch
) -> None:
    await api.post("submit", branch.saga("ok/1"))
    async with ClientSession() as session:

        async def text(path: str) -> str:
            async with session.get(f"{coordinator.http_url}{path}") as answer:
                assert answer.status == 200
                return await answer.text()

        assert json.loads(await text("/api/dtmsvr/version"))["version"]
        assert await text("/api/ping") == '{"msg":"pong"}'
        assert await text("/api/ready") == '{"ready":true}'
        metrics = await text("/api/metrics")
    for name in (
        "dtm_server_info{",
        'dtm_server_process_total{api="submit",status="ok",type="http"}',
        'dtm_server_response_duration_bucket{api="submit",le="0.1",type="http"}',
        'dtm_transaction_process_total{model="saga",status="ok"}',
        'dtm_transaction_handled_duration_count{model="saga"}',
        'dtm_branch_process_total{branchid="01",branchtype="action",model="saga",status="ok"}',
        "dtm_transactions_running ",
        "dtm_store_batch_size_count ",
    ):
        assert name in metrics


async def test_the_server_lives_after_all_that(coordinator: CoordinatorProcess) -> None:
    assert coordinator.is_running
    assert '"stacktrace"' not in coordinator.output()
