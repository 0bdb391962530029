"""Branches that cannot be reached, answer nonsense or far too much: the rest goes on, and so do they, later.

And one gid submitted many times at the same moment, by everybody.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from coordinator.client import Dtm, Failure, Ongoing, Status
from tests.conftest import StartCoordinator
from tests.support.ports import HOST, free_port
from tests.support.under_test import CoordinatorProcess, Store

MEGABYTES = 10
SUBMITS_EACH = 5


_GBK = {"Content-Type": "text/plain; charset=gbk"}
_LOADED = {  # answers with more around them than an HTTP library takes by itself
    "a 409 with a cookie of 9 kB": (409, {**_GBK, "Set-Cookie": "a=" + "x" * 9000}),
    "a 409 in a coding nobody knows": (409, {**_GBK, "Content-Encoding": "br"}),
    "a 200 with 300 headers": (200, {**_GBK, **{f"X-{number}": "y" for number in range(300)}}),
    "a 200 in a coding nobody knows": (200, {**_GBK, "Content-Encoding": "br"}),
}


class Branch:
    """An HTTP service whose behaviour a test chooses; it counts calls by gid, branch and operation."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.mode = "well"
        self.calls: Counter[tuple[str, str, str]] = Counter()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self.port).start()

    async def stop(self) -> None:
        """Do not listen any more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/misbehave" or self.mode == "well":
            self.calls[request.query["gid"], request.query["branch_id"], request.query["op"]] += 1
            return web.json_response({"dtm_result": "SUCCESS"})
        if self.mode == "redirects to itself":
            raise web.HTTPTemporaryRedirect(request.path_qs)
        if self.mode in _LOADED:
            self.calls[request.query["gid"], request.query["branch_id"], request.query["op"]] += 1
            status, headers = _LOADED[self.mode]
            return web.Response(status=status, headers=headers, body="余额不足".encode("gbk"))
        status = 200 if self.mode == "a success of 10 MB" else 500
        self.calls[request.query["gid"], request.query["branch_id"], request.query["op"]] += 1
        return web.Response(status=status, body=b"a" * (MEGABYTES << 20))


@pytest.fixture
async def branch() -> AsyncIterator[Branch]:
    """Return the service, not listening yet."""
    made = Branch()
    yield made
    await made.stop()


@pytest.fixture(params=["sqlite", "mariadb", "postgres"])
def store(request: pytest.FixtureRequest) -> Store | None:
    """Return each store in turn."""
    if request.param == "sqlite":
        return None
    database: Store = request.getfixturevalue(f"{request.param}_database")
    return database


@pytest.fixture
async def coordinator(start_coordinator: StartCoordinator, store: Store | None) -> CoordinatorProcess:
    """Return a coordinator on each store."""
    return await asyncio.to_thread(start_coordinator, store=store, settings={"TransCronInterval": 1})


async def test_what_misbehaves_is_asked_again_and_delays_nobody(
    coordinator: CoordinatorProcess, branch: Branch
) -> None:
    """Unreachable, unknown, in a circle, far too long: none of these is a result."""
    async with Dtm(coordinator.http_url) as dtm:
        # The service is not there: the port refuses.
        await _has_no_result(dtm, "unreachable", f"{branch.url}/misbehave")
        await _has_no_result(dtm, "unknown-host", "http://no-such-host.invalid/misbehave")
        await branch.start()
        await _until(dtm, "unreachable", Status.SUCCEED)
        for mode in ("redirects to itself", "an error of 10 MB"):
            branch.mode = mode
            gid = mode.replace(" ", "-")
            await _has_no_result(dtm, gid, f"{branch.url}/misbehave")
            healthy = await dtm.saga(wait_result=True).add(f"{branch.url}/well", payload={}).submit()
            assert healthy.status is Status.SUCCEED
            branch.mode = "well"
            await _until(dtm, gid, Status.SUCCEED)
        view = await dtm.query("unknown-host")
        assert view is not None
        assert view.status is Status.SUBMITTED


async def test_what_a_status_is_loaded_with_changes_nothing(
    coordinator: CoordinatorProcess, branch: Branch
) -> None:
    """A 409 rolls back and a 200 succeeds, at once; the reason is read in the branch's own characters."""
    await branch.start()
    async with Dtm(coordinator.http_url) as dtm:
        for mode, (status, _) in _LOADED.items():
            branch.mode = mode
            gid = mode.replace(" ", "-")
            saga = dtm.saga(gid, wait_result=True).add(f"{branch.url}/misbehave", payload={})
            if status == 200:
                assert (await saga.submit()).status is Status.SUCCEED
                continue
            with pytest.raises(Failure):
                await saga.submit()
            await _until(dtm, gid, Status.FAILED)
            view = await dtm.query(gid)
            assert view is not None
            assert view.rollback_reason.endswith("return failed: 余额不足 FAILURE")
    assert set(branch.calls.values()) == {1}


async def test_a_success_of_10_mb_is_a_success(coordinator: CoordinatorProcess, branch: Branch) -> None:
    """What is read of it says no FAILURE and no ONGOING; the rest is not read, and not kept."""
    await branch.start()
    branch.mode = "a success of 10 MB"
    async with Dtm(coordinator.http_url) as dtm:
        sagas = [
            dtm.saga(f"big-{number}", wait_result=True).add(f"{branch.url}/misbehave", payload={})
            for number in range(10)
        ]
        await asyncio.gather(*(saga.submit() for saga in sagas))
        assert branch.calls == {(saga.gid, "01", "action"): 1 for saga in sagas}


async def test_one_gid_submitted_by_everybody_at_the_same_moment(
    start_coordinator: StartCoordinator, coordinator: CoordinatorProcess, store: Store | None, branch: Branch
) -> None:
    """Exactly one set of branch calls, over both protocols, on every coordinator of the database."""
    await branch.start()
    coordinators = [coordinator]
    if store is not None:  # of a SQLite file there can be one only
        coordinators.append(await asyncio.to_thread(start_coordinator, store=store))
    gids = [f"everybody-{number}" for number in range(5)]
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(Dtm(url))
            for each in coordinators
            for url in (each.http_url, f"grpc://{each.grpc_address}")
        ]
        answers = await asyncio.gather(
            *(
                client.saga(gid, wait_result=True)
                .add(f"{branch.url}/one", f"{branch.url}/undo", b"{}")
                .add(f"{branch.url}/two", f"{branch.url}/undo", b"{}")
                .submit()
                for gid in gids
                for client in clients * SUBMITS_EACH
            ),
            return_exceptions=True,
        )
        refused = [answer for answer in answers if isinstance(answer, BaseException)]
        # One that comes late meets a saga that has succeeded, which takes no submit any more.
        assert all("current status 'succeed'" in str(error) for error in refused), refused
        assert len(refused) < len(answers)
        for gid in gids:
            view = await clients[0].query(gid)
            assert view is not None
            assert view.status is Status.SUCCEED
    assert branch.calls == {(gid, number, "action"): 1 for gid in gids for number in ("01", "02")}


async def _has_no_result(dtm: Dtm, gid: str, url: str) -> None:
    """Assert that a saga with this step is stored, told to be running, and neither done nor rolled back."""
    saga = dtm.saga(gid, wait_result=True, retry_interval=1, request_timeout=2)
    with pytest.raises(Ongoing):
        await saga.add(url, payload={}).submit()
    view = await dtm.query(gid)
    assert view is not None
    assert (view.status, view.rollback_reason) == (Status.SUBMITTED, "")


async def _until(dtm: Dtm, gid: str, status: Status) -> None:
    deadline = time.monotonic() + 60
    while (view := await dtm.query(gid)) is None or view.status is not status:
        assert time.monotonic() < deadline, view
        await asyncio.sleep(0.05)  # the coordinator tells nobody when a transaction ends
