"""Every call there is, from the registries themselves, made for real: over HTTP, gRPC and JSON-RPC."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import pack
from typing import Any

from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError, StreamTerminatedError

from coordinator.access.permissions import ROLES, Needs, Principal, Role
from coordinator.api.json_rpc import JsonRpc
from coordinator.errors import Unauthenticated
from tests.unit.api.fakes import Grpc, Http, Parts, grpc_api, http_api
from tests.unit.api.raw_grpc import Raw

TOKENS = {f"dtm_{role}": Principal(f"the {role}", ROLES[role], "token") for role in Role}
HTTP_REFUSALS = {401: "no credential", 403: "may not"}
GRPC_REFUSALS = {16: "no credential", 7: "may not"}


class KnownTokens:
    """Knows `dtm_service` and its like; remembers what it was asked."""

    def __init__(self, more: Mapping[str, Principal] | None = None) -> None:
        self.asked: list[str] = []
        self._known = {**TOKENS, **(more or {})}

    async def owner_of(self, token: str) -> Principal:
        self.asked.append(token)
        if token not in self._known:
            raise Unauthenticated("no such token")
        return self._known[token]


@dataclass(frozen=True)
class Call:
    """protocol: HTTP, gRPC or JSON-RPC. name: as docs/security.md has it."""

    protocol: str
    name: str
    needs: Needs


async def every_call() -> Sequence[Call]:
    """From the registries."""
    async with http_api() as http, grpc_api() as grpc:
        over_http = [Call("HTTP", f"{method} {path}", needs) for (method, path), needs in http.routes.items()]
        over_grpc = [Call("gRPC", path, needs) for path, needs in grpc.api.needs.items()]
        assert grpc.api.needs.keys() == grpc.server.paths  # none without
    over_rpc = [Call("JSON-RPC", n, needs) for n, needs in JsonRpc(Parts().operations).methods.items()]
    return [*over_http, *over_grpc, *over_rpc]


async def refusal(http: Http, grpc: Grpc, call: Call, headers: Mapping[str, str] | None = None) -> str:
    """Why the call was refused by who asked; empty where it was let in, whatever came of it then."""
    match call.protocol:
        case "HTTP":
            method, path = call.name.split(" ")
            method, path = method.replace("*", "GET"), path.replace("{topic}", "t")
            status, said = await http_call(http, method, path, None, headers)
            return HTTP_REFUSALS.get(status, "") and said
        case "JSON-RPC":
            body = {"jsonrpc": "2.0", "id": 1, "method": call.name, "params": {}}
            status, said = await http_call(http, "POST", "/api/json-rpc", json.dumps(body), headers)
            return HTTP_REFUSALS.get(status, "") and said
        case _:
            status, said = await grpc_call(grpc, call.name, [*(headers or {}).items()])
            return GRPC_REFUSALS.get(status, "") and said


async def http_call(
    http: Http, method: str, path: str, body: str | None, headers: Any = None
) -> tuple[int, str]:
    """Status and what is said."""
    async with http.session.request(method, f"{http.url}{path}", data=body, headers=headers) as answer:
        text = await answer.text()
        if answer.status in HTTP_REFUSALS:
            assert answer.headers["Content-Type"].startswith("application/json")
            assert (answer.headers.get("WWW-Authenticate") is not None) == (answer.status == 401)
            if method != "HEAD":
                assert json.loads(text).keys() == {"message"}
                text = json.loads(text)["message"]
        return answer.status, text


async def grpc_call(grpc: Grpc, path: str, metadata: Sequence[tuple[str, str]] = ()) -> tuple[int, str]:
    """Status and what is said; the first answer of a stream is enough."""
    pairs: Any = [(name.lower(), value) for name, value in metadata]
    stream_of = Cardinality.UNARY_STREAM if path.endswith("/Watch") else Cardinality.UNARY_UNARY
    try:
        async with grpc.channel.request(path, stream_of, Raw, Raw, timeout=5, metadata=pairs) as stream:
            await stream.send_request()
            inside: Any = stream
            await inside._stream.send_data(pack(">?I", False, 0), end_stream=True)
            inside._send_message_done = inside._end_done = True
            await stream.recv_message()
            await stream.cancel() if stream_of.server_streaming else await stream.recv_trailing_metadata()
    except GRPCError as error:
        return error.status.value, error.message or ""
    except StreamTerminatedError:
        return 0, ""
    return 0, ""
