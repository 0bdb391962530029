"""Branches on aiohttp: the context, and errors as answers (PROTOCOL §2)."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from coordinator.client import DtmError, Failure, Ongoing, branch_middleware, branch_of, current_branch

HOST = "127.0.0.1"
QUERY = {"gid": "g1", "trans_type": "saga", "branch_id": "01", "op": "action"}


async def take(request: web.Request) -> web.Response:
    match request.match_info["what"]:
        case "fail":
            raise Failure("no money, and the FAILURE is not ONGOING")
        case "wait":
            raise Ongoing("not yet")
        case "break":
            raise DtmError("the table is missing")
    assert current_branch() is branch_of(request)
    return web.json_response({"op": current_branch().op})


@pytest.fixture
async def url() -> AsyncIterator[str]:
    application = web.Application(middlewares=[branch_middleware])
    application.router.add_post("/{what}", take)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    yield f"http://{HOST}:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize(
    ("what", "status", "body"),
    [
        ("take", 200, {"op": "action"}),
        # one word of the protocol in the body, however the sentence reads: coordinators search for both
        ("fail", 409, {"dtm_result": "FAILURE", "message": "no money, and the failure is not ongoing"}),
        ("wait", 425, {"dtm_result": "ONGOING", "message": "not yet"}),
        ("break", 500, {"message": "the table is missing"}),
    ],
)
async def test_answers(url: str, what: str, status: int, body: dict[str, str]) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"{url}/{what}", params=QUERY) as response:
        assert response.status == status
        assert await response.json() == body


async def test_a_call_without_context_is_told_so(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"{url}/take") as response:
        assert response.status == 400
        assert "lacks gid, trans_type, branch_id, op" in (await response.json())["message"]
