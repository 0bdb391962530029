"""`POST /register`: what is answered for each way a saga can end, and for requests that are none."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from branches.api.__main__ import make_application
from branches.api.identifiers import UserIds
from branches.proto.user import UserRequest
from branches.proto.userscore import UserScoreRequest
from branches.settings import ApiSettings
from coordinator.client import Dtm
from tests.support.ports import free_port
from tests.unit.client.fake_coordinator import HOST, Answer, Fake, fake_grpc_coordinator

SETTINGS: dict[str, Any] = {
    "name": "register.api",
    "port": 0,
    "dtmserver": "unused:1",
    "userrpc": {"endpoints": ["user:8080"]},
    "scorerpc": {"etcd": {"hosts": ["etcd:2379"], "key": "score.rpc"}},
    "maxbytes": 1000,
}
ANN = {"name": "ann", "gender": "female"}


@pytest.fixture
async def coordinator() -> AsyncIterator[Fake]:
    async with fake_grpc_coordinator() as fake:
        yield fake


@pytest.fixture
async def url(coordinator: Fake) -> AsyncIterator[str]:
    async for one in serve(coordinator.url):
        yield one


async def serve(coordinator_url: str) -> AsyncIterator[str]:
    async with Dtm(coordinator_url, timeout=0.3) as dtm:
        application = make_application(dtm, ApiSettings.model_validate(SETTINGS), UserIds(instance=1))
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        yield f"http://{HOST}:{runner.addresses[0][1]}/register"
        await runner.cleanup()


async def post(url: str, body: Any) -> tuple[int, dict[str, Any], str]:
    """Status, decoded body, gid header."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with aiohttp.ClientSession() as session, session.post(url, data=data) as response:
        return response.status, await response.json(), response.headers.get("dtm-gid", "")


async def test_a_registration_is_a_saga_of_two_grpc_steps(coordinator: Fake, url: str) -> None:
    status, body, gid = await post(url, ANN)
    assert status == 200
    assert body == {"message": "success", "data": {"id": body["data"]["id"], **ANN}}
    (submitted,) = coordinator.submitted
    assert submitted.gid == gid and submitted.trans_options.wait_result
    assert json.loads(submitted.steps) == [
        {"action": "user:8080/user.User/saveUser", "compensate": "user:8080/user.User/saveUserCallback"},
        {
            "action": "etcd://etcd:2379/score.rpc/userscore.UserScore/saveUserScore",
            "compensate": "etcd://etcd:2379/score.rpc/userscore.UserScore/saveUserScoreCallback",
        },
    ]
    user, score = submitted.bin_payloads
    assert UserRequest.FromString(user) == UserRequest(id=body["data"]["id"], name="ann", gender="female")
    assert UserScoreRequest.FromString(score) == UserScoreRequest(user_id=int(body["data"]["id"]), score=10)


async def test_the_score_can_be_asked_for(coordinator: Fake, url: str) -> None:
    await post(url, {**ANN, "score": 0})
    assert UserScoreRequest.FromString(coordinator.submitted[0].bin_payloads[1]).score == 0


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (Answer.ROLLED_BACK, 409, "no money"),
        (Answer.STILL_RUNNING, 202, "accepted, still running"),
        (Answer.ONGOING, 202, "accepted, still running"),
        (Answer.REFUSED, 502, "no gid specified"),
        (Answer.HANGING, 503, "may or may not exist"),
    ],
)
async def test_other_endings(coordinator: Fake, url: str, answer: Answer, status: int, message: str) -> None:
    coordinator.script = [answer]
    got, body, gid = await post(url, ANN)
    assert got == status
    assert message in body["message"]
    assert body["gid"] == gid == coordinator.submitted[0].gid


async def test_no_coordinator_at_all() -> None:
    async for url in serve(f"grpc://{HOST}:{free_port()}"):
        status, body, _ = await post(url, ANN)
        assert status == 503
        assert "nothing was sent, the transaction does not exist" in body["message"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ([], "no object"),
        ("ann", "no object"),
        ({}, "name: field required"),
        ({"name": None}, "name: input should be a valid string"),
        ({"name": 5}, "name: input should be a valid string"),
        ({"name": "  "}, "name: string should have at least 1 character"),
        ({"name": "x" * 256}, "name: string should have at most 255 characters"),
        ({"name": "ann", "gender": 1}, "gender: input should be a valid string"),
        ({"name": "ann", "gender": "x" * 33}, "gender: string should have at most 32 characters"),
        ({"name": "ann", "score": "10"}, "score: input should be a valid integer"),
        ({"name": "ann", "score": True}, "score: input should be a valid integer"),
        ({"name": "ann", "score": 1.5}, "score: input should be a valid integer"),
        ({"name": "ann", "score": -1}, "score: input should be greater than or equal to 0"),
        ({"name": "ann", "score": 2**31}, "score: input should be less than or equal to"),
        ({"name": "ann", "more": "x" * 1000}, "larger than the 1000 bytes"),
    ],
)
async def test_bad_requests_get_a_sentence_and_begin_nothing(
    coordinator: Fake, url: str, body: Any, sentence: str
) -> None:
    status, answer, gid = await post(url, body)
    assert status == 400
    assert sentence in answer["message"]
    assert gid == "" and coordinator.submitted == []
