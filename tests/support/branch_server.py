"""A branch service over HTTP, JSON-RPC and gRPC that answers what its url says, and remembers the calls.

branches.url("http", "fail")      # http://127.0.0.1:4711/fail
branches.url("json-rpc", "fail")  # http://127.0.0.1:4711/json-rpc?method=fail
branches.url("grpc", "fail")      # 127.0.0.1:4712/branch.Branch/fail
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiohttp import web
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from tests.support.grpc_server import BreakingServer, RawCodec
from tests.support.ports import HOST, free_port

_GRPC_SERVICE: Final = "branch.Branch"
_JSON_RPC_PATH: Final = "/json-rpc"
_BRANCH_FIELDS: Final = ("gid", "trans_type", "branch_id", "op")


@dataclass(frozen=True, slots=True)
class Says:
    """One answer, in each protocol (PROTOCOL §2)."""

    http: int
    body: str
    grpc: Status
    json_rpc: int | None = None  # the error's code; None is success
    message: str = ""  # of gRPC and JSON-RPC


ANSWERS: Final[Mapping[str, Says]] = {
    "ok": Says(200, '{"dtm_result":"SUCCESS"}', Status.OK),
    "fine": Says(200, "fine", Status.OK),
    "fail": Says(
        409, '{"dtm_result":"FAILURE","message":"no money"}', Status.ABORTED, -32901, message="no money"
    ),
    "fail-old": Says(200, '{"dtm_result":"FAILURE"}', Status.ABORTED, -32901, message="FAILURE"),
    "ongoing": Says(425, "{}", Status.FAILED_PRECONDITION, -32902, message="ask later"),
    "boom": Says(500, "boom", Status.DATA_LOSS, -32603, message="boom"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of a branch. path: /ok/1 over HTTP, the answer's name in the other two protocols."""

    path: str
    gid: str
    branch_id: str
    op: str
    body: str


class BranchServer:
    """Both servers on free ports of their own; see `branch_server`."""

    def __init__(self) -> None:
        self.http_url = ""
        self.grpc_address = ""
        self.asked: list[Asked] = []
        self.was_asked = asyncio.Event()  # set by every call; a test may clear it

    def url(self, protocol: str, answer: str) -> str:
        """The url of a branch that answers so; protocol: http, json-rpc or grpc."""
        match protocol:
            case "grpc":
                return f"{self.grpc_address}/{_GRPC_SERVICE}/{answer}"
            case "json-rpc":
                return f"{self.http_url}{_JSON_RPC_PATH}?method={answer}"
            case _:
                return f"{self.http_url}/{answer}"

    def __mapping__(self) -> Mapping[str, Handler]:
        """What grpclib asks for: one method per answer."""
        return {
            f"/{_GRPC_SERVICE}/{name}": Handler(
                partial(self.answer_grpc, name), Cardinality.UNARY_UNARY, bytes, bytes
            )
            for name in ANSWERS
        }

    async def answer_http(self, request: web.Request) -> web.Response:
        """Answer a call over HTTP or JSON-RPC."""
        if request.path == _JSON_RPC_PATH:
            return self._answer_json_rpc(await request.json())
        query = request.query
        self._remember(request.path, query, (await request.read()).decode(errors="replace"))
        says = ANSWERS[request.path.split("/")[1]]
        return web.Response(status=says.http, text=says.body)

    async def answer_grpc(self, name: str, stream: "Stream[bytes, bytes]") -> None:
        """Answer a call over gRPC."""
        body = await stream.recv_message() or b""
        metadata = {str(key).removeprefix("dtm-"): str(it) for key, it in (stream.metadata or {}).items()}
        self._remember(name, metadata, body.decode(errors="replace"))
        says = ANSWERS[name]
        if says.grpc is not Status.OK:
            raise GRPCError(says.grpc, says.message)
        await stream.send_message(b"")

    def _answer_json_rpc(self, request: dict[str, Any]) -> web.Response:
        params: dict[str, Any] = request["params"]
        own = {key: value for key, value in params.items() if key not in _BRANCH_FIELDS}
        self._remember(request["method"], params, json.dumps(own, separators=(",", ":")))
        says = ANSWERS[request["method"]]
        error = {"code": says.json_rpc, "message": says.message} if says.json_rpc is not None else None
        return web.json_response({"jsonrpc": "2.0", "id": request["id"], "result": None, "error": error})

    def _remember(self, path: str, fields: Mapping[str, str], body: str) -> None:
        gid, branch_id, op = (fields.get(name, "") for name in ("gid", "branch_id", "op"))
        self.asked.append(Asked(path, gid, branch_id, op, body))
        self.was_asked.set()


@asynccontextmanager
async def branch_server() -> AsyncIterator[BranchServer]:
    """A running BranchServer; it ends with the block."""
    branches = BranchServer()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", branches.answer_http)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    branches.http_url = f"http://{HOST}:{runner.addresses[0][1]}"
    grpc, port = BreakingServer([branches], codec=RawCodec()), free_port()
    await grpc.start(HOST, port)
    branches.grpc_address = f"{HOST}:{port}"
    try:
        yield branches
    finally:
        grpc.close()
        await grpc.wait_closed()
        await runner.cleanup()
