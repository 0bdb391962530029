"""What a step carries: one Python value → the bytes the branch receives (PROTOCOL §10)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import orjson
from betterproto2 import Message
from pydantic import BaseModel

from coordinator.client.errors import InvalidUse
from coordinator.model import PROTOCOL_GRPC


@runtime_checkable
class ProtobufMessage(Protocol):
    """A message of any protobuf library that can write itself."""

    def SerializeToString(self) -> bytes:
        """Return the wire form."""
        ...


JsonValue: TypeAlias = Mapping[str, Any] | Sequence[Any] | str | int | float | bool
Payload: TypeAlias = bytes | BaseModel | ProtobufMessage | JsonValue | None


def encode_payload(payload: Payload, protocol: str) -> bytes:
    """Return the bytes that travel to the branch.

    None: nothing (over HTTP the branch is then called with GET). bytes: as they are. A protobuf message: its
    wire form over gRPC, its JSON form over HTTP. Everything else, pydantic models included: JSON. Raises
    InvalidUse for what cannot be written so.
    """
    if payload is None:
        return b""
    if isinstance(payload, bytes):
        return payload if protocol == PROTOCOL_GRPC else _checked_text(payload)
    if isinstance(payload, ProtobufMessage):
        if protocol == PROTOCOL_GRPC:
            return payload.SerializeToString()
        if isinstance(payload, Message):
            return payload.to_json().encode()
        raise InvalidUse(
            f"a {type(payload).__name__} has no JSON form here: give its JSON as bytes or a dict, or use grpc://"
        )
    if isinstance(payload, BaseModel):
        return _model_as_json(payload)
    return as_json(payload, "payload")


def as_json(value: Any, what: str) -> bytes:
    """Return the value's JSON. what: its name in the error.

    Raises InvalidUse for what has none, NaN and infinity included: they would arrive as null.
    """
    try:
        written = orjson.dumps(value)
    except TypeError as error:  # orjson's JSONEncodeError is one
        raise InvalidUse(
            f"a {what} of type {type(value).__name__} cannot be written as JSON: {error}"
        ) from error
    if b"null" in written:
        _check_finite(value, what)
    return written


def _model_as_json(model: BaseModel) -> bytes:
    written = model.model_dump_json()
    # What stands for a number that JSON has not; as its model says, it may be written as a string instead.
    doubtful = any(word in written for word in ("null", "NaN", "Infinity"))
    if doubtful and model.model_config.get("ser_json_inf_nan") != "strings":
        _check_finite(model.model_dump(), "payload")
    return written.encode()


def _check_finite(value: Any, what: str) -> None:
    if (number := _not_finite(value)) is not None:
        raise InvalidUse(
            f"a {what} cannot be written as JSON: it holds {number}, for which JSON has no number"
        )


def _not_finite(value: Any) -> float | None:
    """Return the first NaN or infinity in what orjson could write."""
    if isinstance(value, float):
        return None if math.isfinite(value) else value
    inner: Iterable[Any] = ()
    if isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, (list, tuple)):
        inner = value
    elif is_dataclass(value):
        inner = (getattr(value, one.name) for one in fields(value))
    return next((found for one in inner if (found := _not_finite(one)) is not None), None)


def encode_step(payload: Payload, protocol: str, number: int, url: str, gid: str) -> bytes:
    """Return `encode_payload` of one step; its error names the step."""
    try:
        return encode_payload(payload, protocol)
    except InvalidUse as error:
        raise InvalidUse(f"step {number} ({url}): {error.message}", gid=gid) from error


def _checked_text(payload: bytes) -> bytes:
    # Over HTTP a payload travels inside a JSON string.
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise InvalidUse(
            f"a payload of bytes must be UTF-8 over HTTP ({error}); binary ones need a grpc:// coordinator"
        ) from error
    return payload
