"""What one transaction of each pattern asks of the coordinator, call by call, over HTTP and over gRPC. Pure.

The gid stands as GID in every call; whoever sends them puts another of the same length in its place. Two
branches each; the answer to the last call comes when the transaction has ended (wait_result).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory

from coordinator.proto import register_descriptors

GID: Final = "#" * 24  # the encoded length of a gRPC message depends on its own
PATTERNS: Final = ("saga", "tcc", "msg", "xa", "workflow")
BRANCH_ONLY: Final = "branch"  # not a transaction: one call of the branch itself
_NAMES: Final = ("TransOut", "TransIn")
_BRANCH_IDS: Final = ("01", "02")
_JSON_PAYLOAD: Final = '{"amount":30}'
_BYTES_PAYLOAD: Final = b"\x08\x1e"
_WORKFLOW_DATA: Final = '{"name":"bench","data":""}'


@dataclass(frozen=True, slots=True)
class Call:
    """One call. path: of the url, or of the gRPC method. body: with GID in it."""

    path: str
    body: bytes


def http_calls(pattern: str, branch: str) -> tuple[Call, ...]:
    """The calls over HTTP, in order. branch: `http://host:port`."""
    if pattern == BRANCH_ONLY:
        return (Call(f"/{_NAMES[0]}", _JSON_PAYLOAD.encode()),)
    transaction: dict[str, Any] = {"gid": GID, "trans_type": pattern, "protocol": "http"}
    branches = [
        {"gid": GID, "trans_type": pattern, "branch_id": number, "data": _JSON_PAYLOAD, **keys}
        for number, keys in zip(_BRANCH_IDS, _registered(pattern, branch), strict=True)
    ]
    last = {**transaction, "wait_result": True}
    match pattern:
        case "saga":
            asked = [("submit", {**last, **_steps(branch, compensated=True)})]
        case "msg":
            steps = {**_steps(branch, compensated=False), "query_prepared": f"{branch}/QueryPrepared"}
            asked = [("prepare", {**transaction, **steps}), ("submit", {**last, **steps})]
        case "workflow":
            asked = [
                ("prepareWorkflow", {**transaction, "custom_data": _WORKFLOW_DATA}),
                *(("registerBranch", it) for it in branches),
                ("submit", {**last, "req_extra": {"status": "succeed"}}),
            ]
        case _:
            asked = [
                ("prepare", transaction),
                *(("registerBranch", it) for it in branches),
                ("submit", last),
            ]
    return tuple(
        Call(f"/api/dtmsvr/{call}", json.dumps(body, separators=(",", ":")).encode()) for call, body in asked
    )


def grpc_calls(pattern: str, branch: str) -> tuple[Call, ...]:
    """The calls over gRPC, in order. branch: `host:port`."""
    service = f"{branch}/bench.Branch"
    if pattern == BRANCH_ONLY:
        return (Call(f"/bench.Branch/{_NAMES[0]}", _BYTES_PAYLOAD),)
    transaction: dict[str, Any] = {"Gid": GID, "TransType": pattern}
    last = {**transaction, "TransOptions": {"WaitResult": True}}
    branches = [
        {
            **transaction,
            "BranchID": number,
            "Op": keys.get("op", ""),
            "Data": keys,
            "BusiPayload": _BYTES_PAYLOAD,
        }
        for number, keys in zip(_BRANCH_IDS, _registered(pattern, service), strict=True)
    ]
    match pattern:
        case "saga":
            asked = [("Submit", {**last, **_grpc_steps(service, compensated=True)})]
        case "msg":
            steps = {**_grpc_steps(service, compensated=False), "QueryPrepared": f"{service}/QueryPrepared"}
            asked = [("Prepare", {**transaction, **steps}), ("Submit", {**last, **steps})]
        case "workflow":
            asked = [
                ("PrepareWorkflow", {**transaction, "CustomedData": _WORKFLOW_DATA}),
                *(("RegisterBranch", it) for it in branches),
                ("Submit", {**last, "ReqExtra": {"status": "succeed"}}),
            ]
        case _:
            asked = [
                ("Prepare", transaction),
                *(("RegisterBranch", it) for it in branches),
                ("Submit", last),
            ]
    return tuple(Call(f"/dtmgimp.Dtm/{call}", _encoded(call, fields)) for call, fields in asked)


def _registered(pattern: str, branch: str) -> list[dict[str, str]]:
    """What is registered of each branch beside its payload (PROTOCOL §5)."""
    match pattern:
        case "tcc":
            return [
                {"confirm": f"{branch}/{name}Confirm", "cancel": f"{branch}/{name}Revert"} for name in _NAMES
            ]
        case "xa":
            return [{"url": f"{branch}/{name}"} for name in _NAMES]
        case _:
            return [{"op": "action", "status": "succeed"} for _ in _NAMES]


def _steps(branch: str, *, compensated: bool) -> dict[str, Any]:
    steps = [
        {
            "action": f"{branch}/{name}",
            **({"compensate": f"{branch}/{name}Revert"} if compensated else {}),
        }
        for name in _NAMES
    ]
    return {"steps": steps, "payloads": [_JSON_PAYLOAD] * len(steps)}


def _grpc_steps(service: str, *, compensated: bool) -> dict[str, Any]:
    steps = _steps(service, compensated=compensated)["steps"]
    return {"Steps": json.dumps(steps), "BinPayloads": [_BYTES_PAYLOAD] * len(steps)}


def _encoded(call: str, fields: Mapping[str, Any]) -> bytes:
    register_descriptors()
    name = "DtmBranchRequest" if call == "RegisterBranch" else "DtmRequest"
    message = message_factory.GetMessageClass(
        descriptor_pool.Default().FindMessageTypeByName(f"dtmgimp.{name}")
    )
    encoded: bytes = message(**fields).SerializeToString()
    return encoded
