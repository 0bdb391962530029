"""JSON-RPC 2.0 in front of the operations (PROTOCOL §4): POST /api/json-rpc on the HTTP port."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from coordinator.access.gate import Door, Gate, check_gid
from coordinator.access.permissions import Needs, Permission, Principal, changes, looks
from coordinator.api.decode import registration_from, transaction_from
from coordinator.api.fields import JsonObject, wrong_type
from coordinator.api.render_results import render_results
from coordinator.errors import INTERNAL_ERROR, DtmError, Forbidden
from coordinator.model import TransactionRequest
from coordinator.service import Operations
from coordinator.telemetry.log import log
from coordinator.watching.tracing import OFF, Tracing

_NOT_JSON: Final = -32700
_BAD_REQUEST: Final = -32600
_NO_METHOD: Final = -32601
_INTERNAL: Final = -32603

_Id = str | int | orjson.Fragment
_Call = Callable[
    [Any, Principal], Awaitable[Any]
]  # params, of any type: `newGid` takes what old clients send


@dataclass(frozen=True, slots=True)
class _Method:
    call: _Call
    door: Door


class JsonRpc:
    """Five methods, whose params are the HTTP body of the call of that name."""

    def __init__(self, operations: Operations, tracing: Tracing = OFF, gate: Gate | None = None) -> None:
        gate = Gate() if gate is None else gate
        transactions = operations.transactions

        async def new_gid(_params: Any, who: Principal) -> Any:
            return {"gid": who.gid_prefix + transactions.new_gid()}

        async def register(params: Any, who: Principal) -> Any:
            registration = registration_from(_object(params))
            check_gid(who, registration.gid)
            tracing.about(registration.gid, registration.trans_type)
            await operations.branches.register(registration)

        def transaction_of(params: Any, who: Principal) -> TransactionRequest:
            wanted = transaction_from(_object(params))
            check_gid(who, wanted.gid)
            tracing.about(wanted.gid, wanted.trans_type)
            return wanted

        async def prepare(params: Any, who: Principal) -> Any:
            await transactions.prepare(transaction_of(params, who))

        async def submit(params: Any, who: Principal) -> Any:
            results = await transactions.submit(transaction_of(params, who))
            return render_results(results) if results else None

        async def abort(params: Any, who: Principal) -> Any:
            await transactions.abort(transaction_of(params, who))

        use = changes(Permission.SUBMIT)
        calls: dict[str, tuple[Needs, _Call]] = {
            "newGid": (looks(Permission.SUBMIT), new_gid),
            "prepare": (use, prepare),
            "submit": (use, submit),
            "abort": (use, abort),
            "registerBranch": (use, register),
        }
        self.methods: Mapping[str, Needs] = {name: needs for name, (needs, _) in calls.items()}
        self._methods = {
            name: _Method(call, gate.door(f"JSON-RPC {name}", needs)) for name, (needs, call) in calls.items()
        }

    @property
    def needs(self) -> Needs:
        """What the call as a whole needs: enough for one of its methods, each of which then decides."""
        return changes(*{permission for needs in self.methods.values() for permission in needs.any_of})

    async def answer(self, body: bytes, who: Principal, address: str) -> tuple[bytes, bool]:
        """The answer to one request, whatever it is, and whether it is a success.

        Raises Unauthenticated, Forbidden where the caller may not call that method.
        """
        try:
            request = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            return _error("", _NOT_JSON, f"Parse json error: {error}")
        if not isinstance(request, dict):
            return _error("", _BAD_REQUEST, f"Bad json request: {wrong_type('it', 'an object', request)}")
        identifier = request.get("id")
        if isinstance(identifier, bool) or not isinstance(identifier, str | int | float) or identifier == "":
            return _error("", _BAD_REQUEST, "Bad json request: id must be a string or a number")
        if isinstance(identifier, float):
            try:
                identifier = _as_sent(body)
            except RecursionError:
                return _error("", _BAD_REQUEST, "Bad json request: it is nested too deeply")
        if request.get("jsonrpc") != "2.0":
            return _error(identifier, _BAD_REQUEST, 'Bad json request: jsonrpc must be "2.0"')
        name = request.get("method")
        method = self._methods.get(name) if isinstance(name, str) else None
        if method is None:
            return _error(identifier, _NO_METHOD, f"Method not found: {name}")
        method.door.judge(who, address)
        return await _call(identifier, str(name), method.call, request.get("params"), who)


def _as_sent(body: bytes) -> orjson.Fragment:
    """The id, a number, in the digits that were sent: a float has no room for all of a long one."""
    return orjson.Fragment(json.loads(body, parse_int=str, parse_float=str)["id"])


def _object(params: Any) -> JsonObject:
    """The params as an object, null as an empty one. Raises Invalid."""
    if isinstance(params, dict):
        return params
    if params is None:
        return {}
    raise wrong_type("params", "an object", params)


async def _call(identifier: _Id, name: str, call: _Call, params: Any, who: Principal) -> tuple[bytes, bool]:
    try:
        result = await call(params, who)
    except Forbidden:  # as of the method itself
        raise
    except DtmError as error:
        return _error(identifier, error.json_rpc_code, error.message)
    except Exception as error:  # noqa: BLE001 - the edge: a fault of ours must not look like an answer of the business
        log.error("JSON-RPC {} failed", name, exception=error)
        return _error(identifier, _INTERNAL, INTERNAL_ERROR)
    answer = {"jsonrpc": "2.0", "id": identifier, "result": result, "error": None}
    return orjson.dumps(answer), True


def _error(identifier: _Id, code: int, message: str) -> tuple[bytes, bool]:
    error = {"code": code, "message": message}
    return orjson.dumps({"jsonrpc": "2.0", "id": identifier, "result": None, "error": error}), False
