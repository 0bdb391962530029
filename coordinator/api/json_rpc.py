"""JSON-RPC 2.0 in front of the operations (PROTOCOL §4): POST /api/json-rpc on the HTTP port."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

from coordinator.api.decode import registration_from, transaction_from
from coordinator.api.fields import JsonObject, wrong_type
from coordinator.errors import INTERNAL_ERROR, DtmError
from coordinator.model import TransactionRequest
from coordinator.service import Operations
from coordinator.telemetry.log import log
from coordinator.watching.tracing import OFF, Tracing

_NOT_JSON: Final = -32700
_BAD_REQUEST: Final = -32600
_NO_METHOD: Final = -32601
_INTERNAL: Final = -32603

_Id = str | int | orjson.Fragment
_Method = Callable[[Any], Awaitable[Any]]  # params, of any type: `newGid` takes what old clients send


class JsonRpc:
    """Five methods, whose params are the HTTP body of the call of that name."""

    def __init__(self, operations: Operations, tracing: Tracing = OFF) -> None:
        transactions = operations.transactions

        async def new_gid(_params: Any) -> Any:
            return {"gid": transactions.new_gid()}

        async def register(params: Any) -> Any:
            registration = registration_from(_object(params))
            tracing.about(registration.gid, registration.trans_type)
            await operations.branches.register(registration)

        def transaction_of(params: Any) -> TransactionRequest:
            wanted = transaction_from(_object(params))
            tracing.about(wanted.gid, wanted.trans_type)
            return wanted

        async def prepare(params: Any) -> Any:
            await transactions.prepare(transaction_of(params))

        async def submit(params: Any) -> Any:
            await transactions.submit(transaction_of(params))

        async def abort(params: Any) -> Any:
            await transactions.abort(transaction_of(params))

        self._methods: dict[str, _Method] = {
            "newGid": new_gid,
            "prepare": prepare,
            "submit": submit,
            "abort": abort,
            "registerBranch": register,
        }

    async def answer(self, body: bytes) -> tuple[bytes, bool]:
        """The answer to one request, whatever it is, and whether it is a success. Raises nothing."""
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
        return await _call(identifier, str(name), method, request.get("params"))


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


async def _call(identifier: _Id, name: str, method: _Method, params: Any) -> tuple[bytes, bool]:
    try:
        result = await method(params)
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
