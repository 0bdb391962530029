"""The saga builder and submit, over both protocols: plainest use first."""

import asyncio
import base64
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from pydantic import BaseModel

from branches.proto.user import UserRequest
from coordinator.client import (
    Dtm,
    DtmError,
    Failure,
    InvalidUse,
    Ongoing,
    Status,
    Unreachable,
    Workflow,
    Workflows,
    workflow,
)
from tests.support.ports import free_port
from tests.unit.client.fake_coordinator import (
    HOST,
    Answer,
    Fake,
    custom_data,
    fake_grpc_coordinator,
    served,
)


async def test_a_submitted_saga_has_a_gid_and_is_submitted(fake: Fake, bank: str) -> None:
    async with Dtm(fake.url) as dtm:
        saga = dtm.saga().add(
            f"{bank}/bank.Bank/TransOut", f"{bank}/bank.Bank/TransOutRevert", {"amount": 30}
        )
        submitted = await saga.submit()
    assert submitted.status is Status.SUBMITTED
    assert submitted.gid == saga.gid and len(saga.gid) == 32
    assert len(fake.submitted) == 1


async def test_waiting_for_the_result_returns_succeed(fake: Fake) -> None:
    async with Dtm(fake.url) as dtm:
        submitted = await dtm.saga("my-gid", wait_result=True).add("http://b/out").submit()
    assert (submitted.gid, submitted.status) == ("my-gid", Status.SUCCEED)


async def test_over_http_the_body_is_the_transaction_object_of_the_protocol(http: Fake) -> None:
    async with Dtm(http.url) as dtm:
        saga = dtm.saga(
            "g1",
            wait_result=True,
            timeout_to_fail=60,
            request_timeout=4,
            retry_interval=15,
            retry_limit=2,
            branch_headers={"x-team": "blue"},
            concurrent=True,
        )
        saga.add("http://b/out", "http://b/out-revert", {"amount": 30})
        saga.add("http://b/in", "http://b/in-revert", b'{"amount":30}', after=[0])
        await saga.submit()
    (body,) = http.submitted
    assert json.loads(body.pop("custom_data")) == {"concurrent": True, "orders": {"1": [0]}}
    assert body == {
        "gid": "g1",
        "trans_type": "saga",
        "protocol": "http",
        "steps": [
            {"action": "http://b/out", "compensate": "http://b/out-revert"},
            {"action": "http://b/in", "compensate": "http://b/in-revert"},
        ],
        "payloads": ['{"amount":30}', '{"amount":30}'],
        "wait_result": True,
        "timeout_to_fail": 60,
        "request_timeout": 4,
        "retry_interval": 15,
        "retry_limit": 2,
        "branch_headers": {"x-team": "blue"},
        "concurrent": True,
    }


async def test_over_http_what_is_not_given_is_left_to_the_coordinator(http: Fake) -> None:
    async with Dtm(http.url) as dtm:
        await dtm.saga("g1").add("http://b/out").submit()
    assert set(http.submitted[0]) == {"gid", "trans_type", "protocol", "steps", "payloads"}


async def test_over_grpc_the_message_is_dtm_request(grpc: Fake) -> None:
    async with Dtm(grpc.url) as dtm:
        saga = dtm.saga("g1", wait_result=True, timeout_to_fail=60, branch_headers={"x-team": "blue"})
        saga.add("b:1/bank.Bank/TransOut", "b:1/bank.Bank/TransOutRevert", UserRequest(id="7"))
        await saga.submit()
    (message,) = grpc.submitted
    assert (message.gid, message.trans_type) == ("g1", "saga")
    assert message.trans_options.wait_result is True
    assert message.trans_options.timeout_to_fail == 60
    assert message.trans_options.branch_headers == {"x-team": "blue"}
    assert json.loads(message.steps) == [
        {"action": "b:1/bank.Bank/TransOut", "compensate": "b:1/bank.Bank/TransOutRevert"}
    ]
    assert message.bin_payloads == [bytes(UserRequest(id="7"))]
    assert message.customed_data == ""


async def test_concurrent_travels_in_custom_data_over_both(fake: Fake) -> None:
    async with Dtm(fake.url) as dtm:
        await dtm.saga(concurrent=True).add("http://b/1").add("http://b/2").submit()
    assert custom_data(fake.submitted[0]) == {"concurrent": True, "orders": {}}


async def test_a_new_gid_can_be_asked_for(fake: Fake) -> None:
    async with Dtm(fake.url) as dtm:
        assert await dtm.new_gid() == "made-here"


# --- results that are not success ---


async def test_a_rollback_is_failure_with_its_reason(fake: Fake) -> None:
    fake.script = [Answer.ROLLED_BACK]
    async with Dtm(fake.url) as dtm:
        with pytest.raises(Failure) as caught:
            await dtm.saga("g1", wait_result=True).add("http://b/1").submit()
    assert caught.value.reason == "no money"
    assert caught.value.url == "host:1/bank.Bank/TransIn"
    assert caught.value.gid == "g1"
    assert caught.value.answer.endswith("no money FAILURE")


@pytest.mark.parametrize("answer", [Answer.STILL_RUNNING, Answer.ONGOING])
async def test_a_saga_that_is_still_running_is_ongoing_and_not_failure(fake: Fake, answer: Answer) -> None:
    fake.script = [answer]
    async with Dtm(fake.url) as dtm:
        with pytest.raises(Ongoing, match="g1 is accepted and still running"):
            await dtm.saga("g1", wait_result=True).add("http://b/1").submit()


async def test_a_refusal_carries_the_answer_and_is_not_repeated(fake: Fake) -> None:
    fake.script = [Answer.REFUSED]
    async with Dtm(fake.url) as dtm:
        with pytest.raises(DtmError, match="no gid specified") as caught:
            await dtm.saga("g1").add("http://b/1").submit()
    assert type(caught.value) is DtmError
    assert "no gid specified" in caught.value.answer
    assert len(fake.submitted) == 1


# --- a coordinator that does not answer ---


@pytest.mark.parametrize("scheme", ["http", "grpc"])
async def test_nobody_there_means_that_nothing_exists(scheme: str) -> None:
    async with Dtm(f"{scheme}://{HOST}:{free_port()}", timeout=0.3) as dtm:
        with pytest.raises(
            Unreachable, match="nothing was sent, the transaction does not exist, gid g1"
        ) as caught:
            await dtm.saga("g1").add("http://b/1").submit()
        assert caught.value.may_exist is False
        with pytest.raises(Unreachable, match="Is the coordinator running at"):
            await dtm.new_gid()


async def test_a_coordinator_that_hangs_leaves_it_open_whether_the_saga_exists(fake: Fake) -> None:
    fake.script = [Answer.HANGING]
    async with Dtm(fake.url, timeout=2) as dtm:
        with pytest.raises(Unreachable, match="may or may not exist, gid g1") as caught:
            await dtm.saga("g1").add("http://b/1").submit()
    assert caught.value.may_exist is True


async def test_waiting_for_the_result_gets_the_request_timeout_on_top(http: Fake) -> None:
    http.script = [Answer.HANGING]
    async with Dtm(http.url, timeout=0.1) as dtm:
        started = asyncio.get_running_loop().time()
        with pytest.raises(Unreachable):
            await dtm.saga("g1", wait_result=True, request_timeout=1).add("http://b/1").submit()
    assert asyncio.get_running_loop().time() - started > 1


async def test_a_full_or_stopping_coordinator_is_asked_again(fake: Fake) -> None:
    """PROTOCOL §2: 503, RESOURCE_EXHAUSTED, UNAVAILABLE."""
    fake.script = [Answer.BUSY, Answer.STOPPING]
    async with Dtm(fake.url) as dtm:
        await dtm.saga().add("http://b/1").submit()
    assert len(fake.submitted) == 3


async def test_a_message_that_does_not_fit_is_not_sent_again() -> None:
    """Its status over gRPC is that of a full coordinator."""
    async with fake_grpc_coordinator() as fake, Dtm(fake.url) as dtm:
        fake.script = [Answer.BUSY]
        with pytest.raises(DtmError, match="RESOURCE_EXHAUSTED too busy"):
            saga = dtm.saga("g1")
            for _ in range(20):
                saga.add("http://b/1", payload="x" * 60_000)
            await saga.submit()
        assert len(fake.submitted) == 1


async def test_why_nobody_took_it_is_told(fake: Fake) -> None:
    fake.script = [Answer.STOPPING] * 50
    async with Dtm(fake.url, timeout=0.3) as dtm:
        with pytest.raises(Unreachable, match="the coordinator is stopping"):
            await dtm.saga("g1").add("http://b/1").submit()


async def test_a_lost_answer_is_asked_for_again_with_the_same_gid(http: Fake) -> None:
    http.script = [Answer.LOST]
    async with Dtm(http.url) as dtm:
        await dtm.saga("g1").add("http://b/1").submit()
    assert [body["gid"] for body in http.submitted] == ["g1", "g1"]


async def test_a_saga_that_succeeded_behind_a_lost_answer_is_a_success(fake: Fake) -> None:
    fake.script = [Answer.BUSY, Answer.ALREADY_SUCCEED]
    async with Dtm(fake.url) as dtm:
        submitted = await dtm.saga("g1", wait_result=True).add("http://b/1").submit()
    assert submitted.status is Status.SUCCEED


async def test_a_saga_that_failed_behind_a_lost_answer_is_a_failure(fake: Fake) -> None:
    fake.script = [Answer.BUSY, Answer.ALREADY_FAILED]
    async with Dtm(fake.url) as dtm:
        with pytest.raises(Failure, match="current status 'failed'"):
            await dtm.saga("g1", wait_result=True).add("http://b/1").submit()


async def test_a_gid_that_has_succeeded_can_be_submitted_again_by_whoever_was_left_without_an_answer(
    fake: Fake,
) -> None:
    """§5: repeating is safe. Failure would say that it was rolled back, which it was not."""
    fake.script = [Answer.ALREADY_SUCCEED]
    async with Dtm(fake.url) as dtm:
        await dtm.saga("g1", wait_result=True).add("http://b/1").submit()


@pytest.mark.parametrize("answer", [Answer.ALREADY_FAILED, Answer.ALREADY_ABORTING])
async def test_a_gid_that_was_rolled_back_before_is_a_failure(fake: Fake, answer: Answer) -> None:
    fake.script = [answer]
    async with Dtm(fake.url) as dtm:
        with pytest.raises(Failure, match="current status"):
            await dtm.saga("g1", wait_result=True).add("http://b/1").submit()


async def test_a_coordinator_that_comes_back_is_used_again_by_the_same_client() -> None:
    async with fake_grpc_coordinator() as first:
        dtm = Dtm(first.url)
        async with dtm:
            await dtm.new_gid()
    async with fake_grpc_coordinator() as second, Dtm(second.url) as dtm:
        assert await dtm.new_gid() == "made-here"


# --- wrong use ---


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("localhost:36789", "write http://host:36789 or grpc://host:36790"),
        ("etcd://localhost:2379", "coordinator url 'etcd://localhost:2379'"),
        ("http://", "names no host"),
        ("grpc://me:geheim@host", "coordinator url 'grpc://host' brings a login: only http:// takes one"),
        ("http://host:port", "port"),
    ],
)
def test_a_wrong_url_is_explained_at_once(url: str, sentence: str) -> None:
    with pytest.raises(InvalidUse, match=sentence):
        Dtm(url)


def test_a_client_that_was_not_entered_says_so() -> None:
    with pytest.raises(InvalidUse, match="async with Dtm"):
        Dtm("http://localhost:36789").saga()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://me:geheim@host/x",
        "etcd://host:2379?user=me&password=geheim",
        "http://me:geheim@:1",
        "ftp://me:geheim/geheim@host",
    ],
)
def test_an_error_about_a_url_keeps_its_password(url: str) -> None:
    with pytest.raises(InvalidUse, match="coordinator url") as wrong:
        Dtm(url)
    assert "geheim" not in str(wrong.value)


async def test_the_password_of_etcd_is_told_to_nobody() -> None:
    url = f"etcd://{HOST}:{free_port()}/dtmservice?user=me&password=geheim"
    async with Dtm(url, timeout=0.2) as dtm:
        with pytest.raises(Unreachable) as away:
            await dtm.new_gid()
        assert dtm.coordinator.told_to_branches == {"dtm": url.partition("?")[0]}
    assert "geheim" not in str(away.value)


@asynccontextmanager
async def serving(method: str, name: str, handler: Any) -> AsyncIterator[int]:
    """Answer one call of the API; yields the port."""
    application = web.Application()
    application.router.add_route(method, f"/api/dtmsvr/{name}", handler)
    async with served(application) as port:
        yield port


@pytest.mark.parametrize(
    ("written", "password"),
    [
        ("ge%68eim", "geheim"),
        ("geheim%40%2F%3A%23%3F", "geheim@/:#?"),
        ("geheim/#?", "geheim/#?"),
        ("geheim@密", "geheim@密"),
    ],
)
async def test_a_login_is_for_the_proxy_and_not_for_branches(written: str, password: str) -> None:
    logins = []

    async def proxy(request: web.Request) -> web.Response:
        logins.append(request.headers.get("Authorization"))
        return web.json_response({"gid": "g1", "dtm_result": "SUCCESS"})

    async with serving("GET", "newGid", proxy) as port, Dtm(f"http://me:{written}@{HOST}:{port}") as dtm:
        assert await dtm.new_gid() == "g1"
        assert dtm.coordinator.told_to_branches == {"dtm": f"http://{HOST}:{port}/api/dtmsvr"}
    assert logins == [f"Basic {base64.b64encode(f'me:{password}'.encode()).decode()}"]


async def test_as_many_submits_wait_at_a_time_as_are_made() -> None:
    all_are_there, there = asyncio.Event(), 0

    async def submit(request: web.Request) -> web.Response:
        nonlocal there
        there += 1
        if there == 150:
            all_are_there.set()
        await all_are_there.wait()
        return web.json_response({"dtm_result": "SUCCESS"})

    async with (
        serving("POST", "submit", submit) as port,
        Dtm(f"http://{HOST}:{port}") as dtm,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(150):
            group.create_task(dtm.saga(wait_result=True).add("http://b/1").submit())


async def test_what_one_attempt_may_have_stored_may_exist_though_the_next_one_found_nobody() -> None:
    @workflow("nothing")
    async def nothing(wf: Workflow, data: Any) -> None:
        pass

    async def take_and_leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        server.close()
        writer.close()

    server = await asyncio.start_server(take_and_leave, HOST, 0)
    url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
    async with server, Dtm(url, timeout=0.5) as dtm:
        with pytest.raises(Unreachable, match="cannot connect") as away:
            await Workflows(dtm, [nothing], callback="http://me/workflow").execute(nothing)
    assert away.value.may_exist


async def test_waiting_for_the_end_takes_no_longer_than_asked_where_nobody_answers() -> None:
    taken: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: taken.append(writer), HOST, 0)
    url = f"http://{HOST}:{silent.sockets[0].getsockname()[1]}"
    async with silent, Dtm(url, timeout=3600) as dtm:
        with pytest.raises(Unreachable):
            await dtm.wait("g1", timeout=0.1)
    for writer in taken:
        writer.close()


async def test_negative_options_are_refused(fake: Fake) -> None:
    async with Dtm(fake.url) as dtm:
        with pytest.raises(InvalidUse, match="retry_interval=-1"):
            dtm.saga(retry_interval=-1)


@pytest.mark.parametrize("after", [[1], [5], [-1]])
async def test_a_step_cannot_wait_for_one_that_is_not_there(fake: Fake, after: list[int]) -> None:
    async with Dtm(fake.url) as dtm:
        saga = dtm.saga().add("http://b/1")
        with pytest.raises(InvalidUse, match="step 1 cannot come after"):
            saga.add("http://b/2", after=after)


# --- payloads ---


class Transfer(BaseModel):
    amount: int
    memo: str = ""


@pytest.mark.parametrize(
    ("payload", "over_http", "over_grpc"),
    [
        (None, "", b""),
        ({"amount": 30}, '{"amount":30}', b'{"amount":30}'),
        ([1, 2], "[1,2]", b"[1,2]"),
        ("thirty", '"thirty"', b'"thirty"'),
        (b"as it is", "as it is", b"as it is"),
        (Transfer(amount=30), '{"amount":30,"memo":""}', b'{"amount":30,"memo":""}'),
        (
            UserRequest(id="7", name="Ann"),
            '{"id":"7","name":"Ann"}',
            bytes(UserRequest(id="7", name="Ann")),
        ),
    ],
)
async def test_payloads(http: Fake, grpc: Fake, payload: Any, over_http: str, over_grpc: bytes) -> None:
    for fake in (http, grpc):
        async with Dtm(fake.url) as dtm:
            await dtm.saga().add("http://b/1", payload=payload).submit()
    assert http.submitted[0]["payloads"] == [over_http]
    assert list(grpc.submitted[0].bin_payloads) == [over_grpc]


async def test_a_payload_that_json_does_not_know_names_the_step(fake: Fake) -> None:
    async with Dtm(fake.url) as dtm:
        saga = dtm.saga().add("http://b/1", payload={})
        with pytest.raises(
            InvalidUse, match=r"step 1 \(http://b/2\): a payload of type dict cannot be written"
        ):
            saga.add("http://b/2", payload={"a": object()})


@dataclass
class Amount:
    value: float


class Price(BaseModel):
    amount: float
    note: str | None = None


@pytest.mark.parametrize(
    "payload", [math.nan, {"a": [1, (math.inf,)]}, [None, Amount(-math.inf)], Price(amount=math.nan)]
)
async def test_a_number_that_json_cannot_say_does_not_arrive_as_null(fake: Fake, payload: Any) -> None:
    async with Dtm(fake.url) as dtm:
        with pytest.raises(
            InvalidUse, match=r"step 0 .*: it holds (nan|-?inf), for which JSON has no number"
        ):
            dtm.saga().add("http://b/1", payload=payload)
        dtm.saga().add("http://b/1", payload={"none": None, "text": "null", "number": 0.5})
        dtm.saga().add("http://b/1", payload=Price(amount=0.5, note="NaN"))


async def test_binary_payloads_need_grpc(http: Fake, grpc: Fake) -> None:
    async with Dtm(http.url) as dtm:
        with pytest.raises(InvalidUse, match="must be UTF-8 over HTTP"):
            dtm.saga().add("http://b/1", payload=b"\xff")
    async with Dtm(grpc.url) as dtm:
        await dtm.saga().add("b:1/x.Y/Z", payload=b"\xff").submit()
    assert list(grpc.submitted[0].bin_payloads) == [b"\xff"]
