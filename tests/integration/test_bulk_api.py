"""One action asked of many transactions over HTTP and gRPC, on every store, as a person would do it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import ClientSession
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from coordinator.proto.dtmcoordinator import (
    BulkItemsRequest,
    BulkJobRequest,
    BulkJobsRequest,
    BulkRequest,
    OperateStub,
)
from tests.support.every_store import STORES, coordinator_on
from tests.support.ports import free_port
from tests.support.under_test import CoordinatorProcess

SECONDS_MAX = 60.0


@pytest.fixture(params=STORES, scope="module")
def coordinator(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CoordinatorProcess]:
    yield from coordinator_on(request.param, request, tmp_path_factory)


class Asking:
    """One person at one coordinator."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def get(self, path: str, **given: Any) -> tuple[int, Any]:
        async with self._session.get(f"{self._url}/api/operate/{path}", params=given) as answer:
            return answer.status, await answer.json()

    async def post(self, path: str, **body: Any) -> tuple[int, Any]:
        async with self._session.post(f"{self._url}/api/operate/{path}", json=body) as answer:
            return answer.status, await answer.json()

    async def put(self, *gids: str) -> None:
        """Sagas that are prepared, and wait for their client."""
        for gid in gids:
            step = {"action": f"http://127.0.0.1:{free_port()}/pay", "compensate": ""}
            saga = {"gid": gid, "trans_type": "saga", "steps": [step], "payloads": ["{}"]}
            async with self._session.post(f"{self._url}/api/dtmsvr/prepare", json=saga) as answer:
                assert answer.status == 200, await answer.text()

    async def until_done(self, job: Any) -> Any:
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                status, job = await self.get(f"bulk/{job['id']}")
                assert status == 200, job
                if job["state"] == "done":
                    return job
                await asyncio.sleep(0.05)


@pytest.fixture
async def asking(coordinator: CoordinatorProcess) -> AsyncIterator[Asking]:
    async with ClientSession() as session:
        yield Asking(session, coordinator.http_url)


async def test_many_are_looked_at_stopped_and_looked_at_again(asking: Asking) -> None:
    await asking.put("first", "second")
    text = "gid:first gid:second gid:third"
    status, plan = await asking.get("bulk/preview", action="stop", filter=text)
    assert (status, plan["count"], plan["eligible"]) == (200, 2, 2)
    assert plan["groups"] == [
        {"is_allowed": True, "why_not": "", "count": 2, "examples": ["first", "second"]}
    ]
    await asking.put("third")
    asked = {"filter": text, "reason": "gone", "id_max": plan["id_max"], "confirm": 2}
    status, made = await asking.post("bulk/stop", **asked)
    assert (status, made["dtm_result"], made["job"]["count"]) == (200, "SUCCESS", 2)
    job = await asking.until_done(made["job"])
    assert (job["done"], job["waiting"], job["who"], job["needs"]) == (2, 0, "anybody", "operate.force")
    assert job["ended"] is not None
    status, page = await asking.get(f"bulk/{job['id']}/items", limit=1)
    assert (status, page["items"][0]["gid"], page["items"][0]["result"]) == (200, "first", "done")
    status, page = await asking.get(f"bulk/{job['id']}/items", after=page["after"])
    assert ([it["gid"] for it in page["items"]], page["after"]) == (["second"], "")
    assert (await asking.get(f"bulk/{job['id']}/items", result="failed,waiting"))[1]["items"] == []
    status, jobs = await asking.get("bulk", limit=1)
    assert (status, [it["id"] for it in jobs["jobs"]]) == (200, [job["id"]])
    status, left = await asking.get("transactions", filter=text)
    assert {it["gid"]: it["status"] for it in left["transactions"]}["third"] == "prepared"


async def test_what_cannot_be_meant_is_refused_and_makes_no_job(asking: Asking) -> None:
    await asking.put("only")
    before = (await asking.get("bulk"))[1]
    for path, body, expected, said in (
        ("bulk/stop", {"filter": "color:red"}, 500, "filter: there is no key 'color'"),
        ("bulk/stop", {"filter": "gid:only", "rate": 0}, 500, "rate: must be from 1 to 1000"),
        ("bulk/stop", {"filter": "gid:only", "rate": "fast"}, 500, "rate: must be an integer"),
        ("bulk/stop", {"filter": "gid:only", "confirm": -1}, 500, "confirm: must not be negative"),
        ("bulk/stop", {"filter": "gid:nobody"}, 409, "there is nothing to do"),
        ("bulk/stop", {"filter": "gid:only", "confirm": 12}, 409, "the filter finds 1 transactions, not 12"),
        ("bulk/rollback", {"filter": "gid:only"}, 409, "rollback is allowed of none of 1"),
        ("bulk/first/pause", {}, 500, "id: must be the number of a bulk job, not 'first'"),
        (f"bulk/{'9' * 40}/pause", {}, 500, "id: must be the number of a bulk job"),
        ("bulk/987654321/cancel", {}, 500, "there is no bulk job 987654321"),
    ):
        status, answer = await asking.post(path, **body)
        assert (status, said in answer["message"]) == (expected, True), (path, body, answer)
        assert ("plan" in answer) is ("confirm" in body and expected == 409)
    status, answer = await asking.get("bulk/preview", action="skip")
    assert (status, answer["message"]) == (500, "action: must be one of retry, rollback, stop, not skip")
    assert (await asking.get("bulk"))[1] == before


async def test_a_job_is_paused_resumed_and_cancelled(asking: Asking) -> None:
    await asking.put(*[f"slow-{number}" for number in range(8)])
    text = " ".join(f"gid:slow-{number}" for number in range(8))
    job = (await asking.post("bulk/stop", filter=text, rate=1))[1]["job"]
    for verb, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        status, moved = await asking.post(f"bulk/{job['id']}/{verb}", reason="let us see")
        assert (status, moved["job"]["state"]) == (200, state)
    status, refused = await asking.post(f"bulk/{job['id']}/pause")
    assert (status, refused["dtm_result"]) == (409, "FAILURE")
    assert f"bulk job {job['id']} is cancelled" in refused["message"]
    assert (await asking.get(f"bulk/{job['id']}"))[1]["waiting"] > 0


async def test_the_same_over_grpc(asking: Asking, coordinator: CoordinatorProcess) -> None:
    await asking.put("over-grpc", "grpc-too")
    text = "gid:over-grpc gid:grpc-too"
    channel = Channel("127.0.0.1", coordinator.grpc_port)
    try:
        stub = OperateStub(channel)
        plan = await stub.bulk_preview(BulkRequest(action="stop", filter=text))
        assert (plan.count, plan.eligible, plan.groups[0].examples) == (2, 2, ["over-grpc", "grpc-too"])
        other = await stub.bulk_stop(BulkRequest(filter=text, confirm=100))
        assert other.job is None
        assert other.plan == plan
        made = (await stub.bulk_stop(BulkRequest(filter=text, confirm=2, reason="gone"))).job
        assert made is not None
        over_http = await asking.until_done({"id": made.id})
        shown = await stub.bulk_show(BulkJobRequest(id=made.id))
        assert {name: getattr(shown, name) or None for name in over_http} == {
            name: value or None for name, value in over_http.items()
        }
        items = (await stub.bulk_items(BulkItemsRequest(id=made.id, result="done"))).items
        assert [it.gid for it in items] == ["over-grpc", "grpc-too"]
        assert (await stub.bulk_jobs(BulkJobsRequest(limit=1))).jobs[0].id == made.id
        for ask in (stub.bulk_pause, stub.bulk_resume, stub.bulk_cancel, stub.bulk_again):
            with pytest.raises(GRPCError) as refused:
                await ask(BulkJobRequest(id=made.id))
            assert refused.value.status is Status.ABORTED
    finally:
        channel.close()
