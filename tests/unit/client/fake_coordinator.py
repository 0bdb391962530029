"""Coordinators that answer as they are told, one over HTTP and one over gRPC, for tests of the client."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from aiohttp import web
from grpclib import GRPCError
from grpclib.const import Status as GrpcStatus
from grpclib.server import Server

from coordinator.proto import dtmgimp
from coordinator.proto.google.protobuf import Empty

HOST = "127.0.0.1"


class Answer(Enum):
    """What the fake does with one submit."""

    SUCCESS = auto()
    ROLLED_BACK = auto()
    STILL_RUNNING = auto()
    ONGOING = auto()
    REFUSED = auto()
    ALREADY_SUCCEED = auto()
    ALREADY_FAILED = auto()
    LOST = auto()  # taken, and then the connection breaks
    HANGING = auto()
    BUSY = auto()


TEXTS = {
    Answer.ROLLED_BACK: "url:host:1/bank.Bank/TransIn return failed: no money FAILURE",
    Answer.STILL_RUNNING: "wait result not return success: FAILURE",
    Answer.ONGOING: "ONGOING",
    Answer.REFUSED: "no gid specified",
    Answer.ALREADY_SUCCEED: "current status 'succeed', cannot sumbmit. FAILURE",
    Answer.ALREADY_FAILED: "current status 'failed', cannot sumbmit. FAILURE",
    Answer.BUSY: "too busy",
}
HTTP_STATUS = {Answer.SUCCESS: 200, Answer.ONGOING: 425, Answer.REFUSED: 500, Answer.BUSY: 503}
GRPC_STATUS = {
    Answer.ONGOING: GrpcStatus.FAILED_PRECONDITION,
    Answer.REFUSED: GrpcStatus.INTERNAL,
    Answer.BUSY: GrpcStatus.UNAVAILABLE,
}


@dataclass
class Fake:
    """One running fake: `url` for the client, `script` to fill, `submitted` to look at."""

    url: str = ""
    script: list[Answer] = field(default_factory=list)  # one for each submit; SUCCESS when it is empty
    submitted: list[Any] = field(default_factory=list)  # decoded body, or DtmRequest
    query_answer: str = '{"transaction":null,"branches":[]}'

    def next_answer(self) -> Answer:
        return self.script.pop(0) if self.script else Answer.SUCCESS


@asynccontextmanager
async def fake_http_coordinator() -> AsyncIterator[Fake]:
    fake = Fake()

    async def submit(request: web.Request) -> web.Response:
        fake.submitted.append(await request.json())
        answer = fake.next_answer()
        if answer is Answer.HANGING:
            await asyncio.sleep(60)
        if answer is Answer.LOST:
            assert request.transport is not None
            request.transport.abort()
        body = {"dtm_result": "SUCCESS"} if answer is Answer.SUCCESS else {"message": TEXTS.get(answer, "")}
        return web.json_response(body, status=HTTP_STATUS.get(answer, 409))

    async def new_gid(request: web.Request) -> web.Response:
        return web.json_response({"gid": "made-here", "dtm_result": "SUCCESS"})

    async def query(request: web.Request) -> web.Response:
        return web.Response(text=fake.query_answer, content_type="application/json")

    application = web.Application()
    application.router.add_post("/api/dtmsvr/submit", submit)
    application.router.add_get("/api/dtmsvr/newGid", new_gid)
    application.router.add_get("/api/dtmsvr/query", query)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    fake.url = f"http://{HOST}:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()


class _DtmService(dtmgimp.DtmBase):
    def __init__(self, fake: Fake) -> None:
        self._fake = fake

    async def new_gid(self, message: Empty) -> dtmgimp.DtmGidReply:
        return dtmgimp.DtmGidReply(gid="made-here")

    async def submit(self, message: dtmgimp.DtmRequest) -> Empty:
        self._fake.submitted.append(message)
        answer = self._fake.next_answer()
        if answer is Answer.SUCCESS:
            return Empty()
        if answer is Answer.HANGING:
            await asyncio.sleep(60)
        raise GRPCError(GRPC_STATUS.get(answer, GrpcStatus.ABORTED), TEXTS.get(answer, ""))


@asynccontextmanager
async def fake_grpc_coordinator() -> AsyncIterator[Fake]:
    fake = Fake()
    server = Server([_DtmService(fake)])
    await server.start(HOST, 0)
    assert server._server is not None
    fake.url = f"grpc://{HOST}:{server._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    try:
        yield fake
    finally:
        server.close()
        await server.wait_closed()


def custom_data(submitted: Any) -> Any:
    """The decoded custom_data of one submit, whatever the protocol; None when there is none."""
    text = submitted.get("custom_data") if isinstance(submitted, dict) else submitted.customed_data
    return json.loads(text) if text else None
