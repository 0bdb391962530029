"""Coordinators that answer as they are told, one over HTTP and one over gRPC, for tests of the client."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
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
    """What the fake does with one call."""

    SUCCESS = auto()
    ROLLED_BACK = auto()
    STILL_RUNNING = auto()
    ONGOING = auto()
    REFUSED = auto()
    ALREADY_SUCCEED = auto()
    ALREADY_FAILED = auto()
    ALREADY_ABORTING = auto()
    BRANCH_FAILURE = auto()
    NOT_PREPARED = auto()
    LOST = auto()  # taken, and then the connection breaks
    HANGING = auto()
    BUSY = auto()
    STOPPING = auto()


TEXTS = {
    Answer.ROLLED_BACK: "url:host:1/bank.Bank/TransIn return failed: no money FAILURE",
    Answer.STILL_RUNNING: "wait result not return success: FAILURE",
    Answer.ONGOING: "ONGOING",
    Answer.REFUSED: "no gid specified",
    Answer.ALREADY_SUCCEED: "current status 'succeed', cannot sumbmit. FAILURE",
    Answer.ALREADY_FAILED: "current status 'failed', cannot sumbmit. FAILURE",
    Answer.ALREADY_ABORTING: "current status 'aborting', cannot sumbmit. FAILURE",
    Answer.BRANCH_FAILURE: "account is locked FAILURE",
    Answer.NOT_PREPARED: "no trans with gid: g1 status: prepared found FAILURE",
    Answer.BUSY: "too busy",
    Answer.STOPPING: "the coordinator is stopping",
}
HTTP_STATUS = {
    Answer.SUCCESS: 200,
    Answer.ONGOING: 425,
    Answer.REFUSED: 500,
    Answer.BUSY: 503,
    Answer.STOPPING: 503,
}
GRPC_STATUS = {
    Answer.ONGOING: GrpcStatus.FAILED_PRECONDITION,
    Answer.REFUSED: GrpcStatus.INTERNAL,
    Answer.BUSY: GrpcStatus.RESOURCE_EXHAUSTED,
    Answer.STOPPING: GrpcStatus.UNAVAILABLE,
}


@dataclass(frozen=True)
class Asked:
    """One call that changes something: the name HTTP gives it, and what it brought (JSON, or its twin)."""

    name: str
    body: Mapping[str, Any]


@dataclass
class Fake:
    """One running fake: `url` for the client, `script` to fill, `submitted` and `asked` to look at."""

    url: str = ""
    script: list[Answer] = field(default_factory=list)  # one for each submit; SUCCESS when it is empty
    scripts: dict[str, list[Answer]] = field(default_factory=dict)  # for the other calls, by name
    submitted: list[Any] = field(default_factory=list)  # decoded body, or DtmRequest
    asked: list[Asked] = field(default_factory=list)
    version: Mapping[str, Any] | None = None  # what it says of itself over HTTP; None: it has no such call
    query_answer: str = '{"transaction":null,"branches":[]}'
    workflows: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # gid → status, rollback_reason, result
    progresses: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # gid → rows, data as bytes

    def names(self) -> list[str]:
        return [asked.name for asked in self.asked]

    def next_answer(self, name: str = "submit") -> Answer:
        script = self.script if name == "submit" else self.scripts.get(name, [])
        return script.pop(0) if script else Answer.SUCCESS

    def take(self, name: str, body: Mapping[str, Any]) -> Answer:
        """Note a call; keep what a workflow needs to go on."""
        self.asked.append(Asked(name, body))
        answer = self.next_answer(name)
        if answer is not Answer.SUCCESS or body.get("trans_type") != "workflow":
            return answer
        gid = body["gid"]
        if name == "prepareWorkflow":
            self.workflows.setdefault(gid, {"status": "prepared", "rollback_reason": "", "result": ""})
            self.progresses.setdefault(gid, [])
        elif name == "registerBranch":
            row = {key: body[key] for key in ("branch_id", "op", "status")}
            self.progresses[gid].append({**row, "data": body["data"]})
        elif name == "submit":
            self.workflows[gid].update(body["req_extra"])
        return answer


@asynccontextmanager
async def fake_http_coordinator() -> AsyncIterator[Fake]:
    fake = Fake()

    async def change(request: web.Request) -> web.Response:
        name = request.path.rpartition("/")[2]
        body = await request.json() if request.can_read_body else dict(request.query)
        if name == "submit":
            fake.submitted.append(body)
        noted = {**body, "data": body["data"].encode()} if name == "registerBranch" else body
        answer = fake.take(name, noted)
        if answer is Answer.HANGING:
            await asyncio.sleep(60)
        if answer is Answer.LOST:
            assert request.transport is not None
            request.transport.abort()
        if answer is not Answer.SUCCESS:
            status = HTTP_STATUS.get(answer, 409)
            return web.json_response({"message": TEXTS.get(answer, "")}, status=status)
        if name == "prepareWorkflow":
            rows = [
                {**row, "bin_data": base64.b64encode(row["data"]).decode(), "data": None}
                for row in fake.progresses[body["gid"]]
            ]
            return web.json_response({"transaction": fake.workflows[body["gid"]], "progresses": rows})
        return web.json_response({"dtm_result": "SUCCESS"})

    async def topic(request: web.Request) -> web.Response:
        fake.asked.append(Asked("topic", {"topic": request.match_info["topic"]}))
        return web.json_response({"dtm_result": "SUCCESS"})

    async def new_gid(request: web.Request) -> web.Response:
        return web.json_response({"gid": "made-here", "dtm_result": "SUCCESS"})

    async def query(request: web.Request) -> web.Response:
        return web.Response(text=fake.query_answer, content_type="application/json")

    async def version(request: web.Request) -> web.Response:
        return web.Response(status=404) if fake.version is None else web.json_response(fake.version)

    application = web.Application()
    for name in ("submit", "prepare", "abort", "registerBranch", "prepareWorkflow"):
        application.router.add_post(f"/api/dtmsvr/{name}", change)
    for name in ("subscribe", "unsubscribe"):
        application.router.add_get(f"/api/dtmsvr/{name}", change)
    application.router.add_delete("/api/dtmsvr/topic/{topic}", topic)
    application.router.add_get("/api/dtmsvr/newGid", new_gid)
    application.router.add_get("/api/dtmsvr/query", query)
    application.router.add_get("/api/dtmsvr/version", version)
    async with served(application) as port:
        fake.url = f"http://{HOST}:{port}"
        yield fake


@asynccontextmanager
async def served(application: web.Application) -> AsyncIterator[int]:
    """Serve over HTTP while the block runs; yields the port."""
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


class _DtmService(dtmgimp.DtmBase):
    def __init__(self, fake: Fake) -> None:
        self._fake = fake

    async def new_gid(self, message: Empty) -> dtmgimp.DtmGidReply:
        return dtmgimp.DtmGidReply(gid="made-here")

    async def submit(self, message: dtmgimp.DtmRequest) -> Empty:
        self._fake.submitted.append(message)
        return await self._take("submit", _as_body(message))

    async def prepare(self, message: dtmgimp.DtmRequest) -> Empty:
        return await self._take("prepare", _as_body(message))

    async def abort(self, message: dtmgimp.DtmRequest) -> Empty:
        return await self._take("abort", _as_body(message))

    async def register_branch(self, message: dtmgimp.DtmBranchRequest) -> Empty:
        body = {
            "gid": message.gid,
            "trans_type": message.trans_type,
            "branch_id": message.branch_id,
            "data": message.busi_payload,
            **message.data,
        }
        return await self._take("registerBranch", body)

    async def prepare_workflow(self, message: dtmgimp.DtmRequest) -> dtmgimp.DtmProgressesReply:
        await self._take("prepareWorkflow", _as_body(message))
        stored = self._fake.workflows[message.gid]
        return dtmgimp.DtmProgressesReply(
            transaction=dtmgimp.DtmTransaction(
                gid=message.gid,
                status=stored["status"],
                rollback_reason=stored["rollback_reason"],
                result=stored["result"],
            ),
            progresses=[
                dtmgimp.DtmProgress(
                    status=row["status"], bin_data=row["data"], branch_id=row["branch_id"], op=row["op"]
                )
                for row in self._fake.progresses[message.gid]
            ],
        )

    async def subscribe(self, message: dtmgimp.DtmTopicRequest) -> Empty:
        return await self._take("subscribe", _as_topic(message))

    async def unsubscribe(self, message: dtmgimp.DtmTopicRequest) -> Empty:
        return await self._take("unsubscribe", _as_topic(message))

    async def delete_topic(self, message: dtmgimp.DtmTopicRequest) -> Empty:
        return await self._take("topic", {"topic": message.topic})

    async def _take(self, name: str, body: Mapping[str, Any]) -> Empty:
        answer = self._fake.take(name, body)
        if answer is Answer.SUCCESS:
            return Empty()
        if answer is Answer.HANGING:
            await asyncio.sleep(60)
        raise GRPCError(GRPC_STATUS.get(answer, GrpcStatus.ABORTED), TEXTS.get(answer, ""))


def _as_body(message: dtmgimp.DtmRequest) -> dict[str, Any]:
    """What the same call would bring over HTTP, as far as it is not empty."""
    body = {
        "gid": message.gid,
        "trans_type": message.trans_type,
        "steps": json.loads(message.steps) if message.steps else None,
        "payloads": [payload.decode(errors="replace") for payload in message.bin_payloads],
        "custom_data": message.customed_data,
        "query_prepared": message.query_prepared,
        "rollback_reason": message.rollback_reason,
        "req_extra": dict(message.req_extra),
    }
    return {name: value for name, value in body.items() if value}


def _as_topic(message: dtmgimp.DtmTopicRequest) -> dict[str, str]:
    body = {"topic": message.topic, "url": message.url, "remark": message.remark}
    return {name: value for name, value in body.items() if value}


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
    text = submitted.get("custom_data") if isinstance(submitted, Mapping) else submitted.customed_data
    return json.loads(text) if text else None
