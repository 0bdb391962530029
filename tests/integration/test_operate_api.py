"""A transaction that hangs is found, explained, and acted on over /api/operate/, as a person would do it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientSession
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from coordinator.proto.dtmcoordinator import ActRequest, AuditRequest, GidRequest, OperateStub, SearchRequest
from coordinator.proto.google.protobuf import Empty
from tests.support.branch_server import BranchServer, branch_server
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

    async def get(self, path: str, **given: str) -> tuple[int, Any]:
        async with self._session.get(f"{self._url}/api/operate/{path}", params=given) as answer:
            return answer.status, await answer.json()

    async def post(self, path: str, **body: str) -> tuple[int, Any]:
        async with self._session.post(f"{self._url}/api/operate/{path}", json=body) as answer:
            return answer.status, await answer.json()

    async def submit(self, gid: str, *urls: str, undo: str = "") -> None:
        steps = [{"action": url, "compensate": undo} for url in urls]
        saga = {"gid": gid, "trans_type": "saga", "steps": steps, "payloads": ["{}"] * len(urls)}
        async with self._session.post(f"{self._url}/api/dtmsvr/submit", json=saga) as answer:
            assert answer.status == 200, await answer.text()

    async def show(self, gid: str) -> Any:
        status, shown = await self.get(f"transactions/{quote(gid, safe='')}")
        assert status == 200, shown
        return shown

    async def until(self, gid: str, condition: Callable[[Any], object]) -> Any:
        """What is shown of it, once that is so."""
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                if condition(shown := await self.show(gid)):
                    return shown
                await asyncio.sleep(0.02)

    async def until_stuck(self, gid: str) -> Any:
        """What is shown of it, once the call that gives no success has ended."""
        return await self.until(gid, lambda it: it["attempts"] and not it["transaction"].get("owner"))

    async def hash_of(self, gid: str, action: str, **given: str) -> str:
        status, preview = await self.get(f"transactions/{gid}/preview", action=action, **given)
        assert status == 200, preview
        return str(preview["hash"])


@pytest.fixture
async def branches() -> AsyncIterator[BranchServer]:
    async with branch_server() as server:
        yield server


@pytest.fixture
async def asking(coordinator: CoordinatorProcess) -> AsyncIterator[Asking]:
    async with ClientSession() as session:
        yield Asking(session, coordinator.http_url)


async def test_it_is_found_explained_and_rolled_back(asking: Asking, branches: BranchServer) -> None:
    gid, ok = "it hangs/1", branches.url("http", "ok")
    await asking.submit(gid, ok, f"http://127.0.0.1:{free_port()}/pay", undo=ok)
    shown = await asking.until_stuck(gid)
    [attempt] = shown["attempts"]
    assert (attempt["branch_id"], attempt["kind"], attempt["code"]) == ("02", "refused", "W11")
    assert shown["why"]["code"] == "W11"
    allowed = [it["action"] for it in shown["actions"] if it["is_allowed"]]
    assert allowed == ["retry", "rollback", "skip", "stop"]
    assert shown["forecast"]["if_all_succeed"]["ends"] == "succeed"
    assert shown["forecast"]["if_this_goes_on"]["ends"] is None

    status, page = await asking.get("transactions", filter='kind:refused error:"cannot connect"')
    assert (status, [it["gid"] for it in page["transactions"]]) == (200, [gid])
    status, inbox = await asking.get("inbox")
    assert (status, inbox["total"], inbox["groups"][0]["count"]) == (200, 1, 1)

    path = f"transactions/{quote(gid, safe='')}"
    status, refused = await asking.post(f"{path}/rollback", reason="too late")
    assert (status, refused["dtm_result"]) == (409, "FAILURE")
    assert [it["fate"] for it in refused["preview"]["effects"]] == ["undone", "null"]
    assert [it["branch_id"] for it in refused["preview"]["forecast"]["calls"]] == ["02", "01"]
    assert (await asking.show(gid))["transaction"]["status"] == "submitted"

    status, done = await asking.post(f"{path}/rollback", reason="too late", hash=refused["preview"]["hash"])
    assert (status, done["dtm_result"], done["preview"]["becomes"]) == (200, "SUCCESS", "aborting")
    shown = await asking.until(gid, lambda it: it["transaction"]["status"] == "failed")
    assert shown["transaction"]["rollback_reason"] == "rolled back by an operator: too late"
    assert shown["why"]["code"] == "W41"
    assert (await asking.get("inbox"))[1] == {"groups": [], "total": 0}
    async with asyncio.timeout(SECONDS_MAX):  # what was refused is written a moment later
        while True:
            status, audit = await asking.get("audit", limit="2")
            assert status == 200, audit
            if len(audit["records"]) == 2:
                break
            await asyncio.sleep(0.05)
    told = {(it["action"], it["target"], it["outcome"].split(":")[0]) for it in audit["records"]}
    assert told == {("rollback", gid, "done"), ("rollback", gid, "refused")}


async def test_of_two_at_once_one_is_told_that_it_has_moved(asking: Asking) -> None:
    gid = "two-at-once"
    await asking.submit(gid, f"http://127.0.0.1:{free_port()}/pay")
    await asking.until_stuck(gid)
    agreed = await asking.hash_of(gid, "skip", branch_id="01", op="action")
    skip = {"branch_id": "01", "op": "action", "hash": agreed}
    answers = await asyncio.gather(
        asking.post(f"transactions/{gid}/skip", **skip), asking.post(f"transactions/{gid}/skip", **skip)
    )
    assert sorted(status for status, _ in answers) == [200, 409]
    await asking.until(gid, lambda it: it["transaction"]["status"] == "succeed")


async def test_it_is_stopped_as_it_stands(asking: Asking) -> None:
    gid = "stopped"
    await asking.submit(gid, f"http://127.0.0.1:{free_port()}/pay")
    await asking.until_stuck(gid)
    status, done = await asking.post(
        f"transactions/{gid}/stop", hash=await asking.hash_of(gid, "stop"), reason="gone"
    )
    assert (status, done["preview"]["becomes"]) == (200, "failed")
    assert (await asking.get("inbox"))[1]["total"] == 0
    status, refused = await asking.post(f"transactions/{gid}/retry", hash="")
    assert (status, "preview" in refused) == (409, False)
    assert "it is failed already" in refused["message"]


async def test_it_is_tried_again_at_once(asking: Asking) -> None:
    gid = "again"
    await asking.submit(gid, f"http://127.0.0.1:{free_port()}/pay")
    await asking.until_stuck(gid)
    status, _ = await asking.post(f"transactions/{gid}/retry", hash=await asking.hash_of(gid, "retry"))
    assert status == 200
    await asking.until(gid, lambda it: it["attempts"][0]["times"] >= 2)


async def test_query_shows_the_same_where_it_is_asked_for_detail(
    asking: Asking, coordinator: CoordinatorProcess
) -> None:
    await asking.submit("detailed", f"http://127.0.0.1:{free_port()}/pay")
    shown = await asking.until_stuck("detailed")
    async with ClientSession() as session:

        async def query(**given: str) -> Any:
            async with session.get(f"{coordinator.api_url}/query", params=given) as answer:
                return await answer.json()

        detailed = await query(gid="detailed", detail="1")
        assert detailed["attempts"] == shown["attempts"]
        assert detailed.keys() == shown.keys()
        assert (await query(gid="detailed")).keys() == {"transaction", "branches"}
        assert "tried" not in detailed["transaction"].get("ext_data", "")
        assert await query(gid="nobody", detail="1") == {"transaction": None, "branches": []}


async def test_the_same_over_grpc(asking: Asking, coordinator: CoordinatorProcess) -> None:
    gid = "over-grpc"
    await asking.submit(gid, f"http://127.0.0.1:{free_port()}/pay")
    over_http = await asking.until_stuck(gid)
    channel = Channel("127.0.0.1", coordinator.grpc_port)
    try:
        stub = OperateStub(channel)
        found = await stub.search(SearchRequest(filter=f"gid:{gid}"))
        assert [it.stuck and it.stuck.kind for it in found.transactions] == ["refused"]
        shown = await stub.show(GidRequest(gid=gid))
        assert shown.transaction is not None and shown.why is not None
        assert (shown.transaction.gid, shown.why.code) == (gid, over_http["why"]["code"])
        assert [it.answer for it in shown.attempts] == [it["answer"] for it in over_http["attempts"]]
        assert shown.branches[1].bin_data == b"{}"
        assert [it.action for it in shown.actions] == [it["action"] for it in over_http["actions"]]
        groups = (await stub.inbox(Empty())).groups
        assert any(it.example is not None and it.example.gid == gid for it in groups)
        assert [it.is_alive for it in (await stub.nodes(Empty())).nodes] == [True]
        preview = await stub.preview(ActRequest(gid=gid, action="stop"))
        assert preview.becomes == "failed"
        moved = await stub.stop(ActRequest(gid=gid, hash="another"))
        assert moved.preview is not None
        assert (moved.is_done, moved.preview.hash) == (False, preview.hash)
        done = await stub.stop(ActRequest(gid=gid, hash=preview.hash, reason="over"))
        assert done.is_done
        records = (await stub.audit(AuditRequest(limit=5))).records
        assert ("stop", gid, "over") in [(it.action, it.target, it.reason) for it in records]
        with pytest.raises(GRPCError) as refused:
            await stub.retry(ActRequest(gid=gid))
        assert refused.value.status is Status.ABORTED
    finally:
        channel.close()


async def test_who_shares_the_database(asking: Asking, coordinator: CoordinatorProcess) -> None:
    status, said = await asking.get("nodes")
    [node] = said["nodes"]
    assert (status, node["is_alive"]) == (200, True)
    assert node["address"].endswith(str(coordinator.http_port))


@pytest.mark.parametrize(
    ("path", "given", "said"),
    [
        ("transactions", {"filter": "what"}, "'what' is no key:value"),
        ("transactions", {"after": "x"}, "after: must be the `after` of the page before"),
        ("transactions", {"limit": "x"}, "convert to int error"),
        ("audit", {"after": "x"}, "convert to int error"),
        ("transactions/nobody", {}, "no TransGlobal with gid: nobody found"),
        ("transactions/nobody/preview", {"action": "retry"}, "no TransGlobal with gid: nobody found"),
        ("transactions/nobody/preview", {"action": "mend"}, "action: must be one of retry"),
        ("transactions/nobody/preview", {"action": "skip"}, "branch_id and op: say which"),
        (
            "transactions/nobody/preview",
            {"action": "skip", "branch_id": "01", "op": "action", "skip_reason": "why not"},
            "skip_reason: must be 'it happened outside' or 'must not happen'",
        ),
    ],
)
async def test_what_is_said_of_mistakes(asking: Asking, path: str, given: dict[str, str], said: str) -> None:
    status, answer = await asking.get(path, **given)
    assert status == 500
    assert said in answer["message"]


async def test_other_paths_and_methods_are_unknown(asking: Asking, coordinator: CoordinatorProcess) -> None:
    async with ClientSession() as session:
        for method, path in (
            ("GET", "transactions/a/b/c"),
            ("POST", "inbox"),
            ("GET", "transactions/a/stop"),
        ):
            async with session.request(method, f"{coordinator.http_url}/api/operate/{path}") as answer:
                assert answer.status == 404
