"""What a step carries: one Python value → the bytes the branch receives (PROTOCOL §10)."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, time
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, ClassVar, Final, Protocol, TypeAlias, runtime_checkable
from uuid import UUID

import orjson

from coordinator.client.errors import InvalidUse
from coordinator.client.transport.checks import PAYLOAD_BYTES_MAX
from coordinator.client.transport.step_results import FromResult
from coordinator.model import PROTOCOL_GRPC


@runtime_checkable
class ProtobufMessage(Protocol):
    """A message of any protobuf library that can write itself."""

    def SerializeToString(self) -> bytes:
        """Return the wire form."""
        ...


@runtime_checkable
class PydanticModel(Protocol):
    """A model of pydantic, known by what it has."""

    model_config: ClassVar[Any]

    def model_dump_json(self) -> str:
        """Return its JSON."""
        ...

    def model_dump(self) -> dict[str, Any]:
        """Return its fields."""
        ...


class Dataclass(Protocol):
    """An instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


JsonValue: TypeAlias = (
    Mapping[Any, Any] | Sequence[Any] | str | int | float | bool | Decimal | date | time | UUID | Enum
)
Payload: TypeAlias = bytes | PydanticModel | ProtobufMessage | Dataclass | JsonValue | None
Encoder: TypeAlias = Callable[[Any], bytes]

_PLAIN: Final = (dict, list, str, int, float)
_FINITE: Final = (str, int, bool, NoneType)  # whatever their value
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATACLASS  # messages of betterproto2 are dataclasses, too


def encode_payload(payload: Payload, protocol: str, encoder: Encoder | None = None) -> bytes:
    """Return the bytes that travel to the branch.

    None: nothing (over HTTP the branch is then called with GET). bytes: as they are. A protobuf message
    over gRPC: its wire form. Everything else: what the encoder makes of it, `encode_json` where there is
    none. Raises InvalidUse for what cannot be written so, and for more than 65,535 bytes, which nothing
    could store.
    """
    if payload is None:
        return b""
    if isinstance(payload, bytes):
        encoded = payload
    elif type(payload) not in _PLAIN and protocol == PROTOCOL_GRPC and _is_message(payload):
        encoded = _wire_form(payload)
    else:
        encoded = encode_json(payload) if encoder is None else _checked_bytes(encoder(payload))
    if len(encoded) > PAYLOAD_BYTES_MAX:
        raise InvalidUse(f"a payload has {len(encoded)} bytes, at most {PAYLOAD_BYTES_MAX} fit")
    if protocol != PROTOCOL_GRPC and (payload is encoded or encoder is not None):
        _check_text(encoded)
    return encoded


def encode_json(value: Any) -> bytes:
    """Return the value's JSON, which branches get unless `Dtm` is given another encoder (PROTOCOL §10).

    Models of pydantic, dataclasses and protobuf messages, anywhere inside, as objects; Decimal and UUID as
    strings, so that no digit is lost; datetime, date and time as ISO 8601; enums as their values; keys as
    text; a driver's or library's own kind of these as they are. Raises InvalidUse for what has no JSON: NaN
    and infinity, which would arrive as null, bytes, sets, classes.
    """
    return as_json(value, "payload")


def as_json(value: Any, what: str) -> bytes:
    """Return `encode_json` of the value. what: its name in the error."""
    try:
        written = _written(value)
    except (TypeError, RecursionError) as error:  # orjson's JSONEncodeError is a TypeError
        raise InvalidUse(
            f"a {what} of type {type(value).__name__} cannot be written as JSON: {error.__cause__ or error}"
        ) from error
    if b"null" in written and (number := _not_finite(value)) is not None:
        raise InvalidUse(
            f"a {what} cannot be written as JSON: it holds {number}, for which JSON has no number"
        )
    return written


def _written(value: Any) -> bytes:
    try:
        return orjson.dumps(value, _as_plain, _OPTIONS)
    except TypeError as error:
        if "key must be" not in str(error):
            raise
    try:
        return orjson.dumps(value, _as_plain, _OPTIONS | orjson.OPT_NON_STR_KEYS)  # which costs more
    except TypeError as error:
        if "key must" not in str(error):
            raise
    return orjson.dumps(_with_text_keys(value), _as_plain, _OPTIONS)  # and this most


def _with_text_keys(value: Any) -> Any:
    if _is_message(value):
        return value
    if isinstance(value, Mapping):
        return {_key_text(key): _with_text_keys(inner) for key, inner in value.items()}
    if _is_row(value):
        return [_with_text_keys(inner) for inner in value]
    if is_dataclass(value):
        return _with_text_keys(_as_plain(value))
    return value


def _key_text(key: Any) -> str:
    written = orjson.dumps(key, _as_plain)
    if written[:1] in b"[{":
        raise TypeError(f"a key of type {type(key).__name__} has no text")
    return str(orjson.loads(written)) if written[:1] == b'"' else written.decode()


def _as_plain(value: Any) -> Any:
    """What orjson is to write in the place of a value that it does not know."""
    if isinstance(value, type):
        raise TypeError(f"{value.__name__} is a class, give one of its instances")
    if isinstance(value, FromResult):
        raise TypeError("from_result may be a saga's payload, or stand in its dicts and lists, nowhere else")
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise TypeError(f"it holds {value}, for which JSON has no number")
        return str(value)
    if isinstance(value, UUID):  # one of a database driver's own, as are the next
        return str(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, PydanticModel):
        dumped: Any = value
        return dumped.model_dump(mode="json")
    if isinstance(value, ProtobufMessage):
        return _message_as_plain(value)
    if is_dataclass(value):
        return {name: getattr(value, name) for name in _written_fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if _is_row(value):
        return list(value)
    raise TypeError(f"type {type(value).__name__} has no JSON form")


def _written_fields(value: Any) -> Iterable[str]:
    return (one.name for one in fields(value) if not one.name.startswith("_"))


def _is_row(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview))


def _is_message(value: object) -> bool:
    return isinstance(value, ProtobufMessage) and not isinstance(value, type)


def _wire_form(message: Any) -> bytes:
    try:
        _check_complete(message)
        return bytes(message.SerializeToString())
    except (TypeError, ValueError, AttributeError) as error:  # of fields that are not what they should be
        raise InvalidUse(
            f"a payload of type {type(message).__name__} cannot be written as protobuf: {error}"
        ) from error


def _check_complete(message: Any) -> None:
    find_missing = getattr(message, "FindInitializationErrors", None)  # of google's
    if find_missing is not None and (missing := find_missing()):
        raise TypeError(f"a {type(message).__name__} without {', '.join(missing)} is not complete")


def _message_as_plain(message: Any) -> Any:
    _check_complete(message)
    if callable(to_dict := getattr(message, "to_dict", None)):  # betterproto2's
        return to_dict()
    if not hasattr(message, "DESCRIPTOR"):
        raise TypeError(f"a {type(message).__name__} has no JSON form here")
    from google.protobuf.json_format import MessageToDict  # whoever has such a message has this

    return MessageToDict(message)


def _not_finite(value: Any) -> float | None:
    """Return the first NaN or infinity in what could be written."""
    if isinstance(value, float):
        return None if math.isfinite(value) else value
    inner = (one for one in _inside(value) if type(one) not in _FINITE)
    return next((found for one in inner if (found := _not_finite(one)) is not None), None)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, dict):
        return (*value, *value.values())
    if isinstance(value, Enum):
        return (value.value,)
    if isinstance(value, (str, int)) or _is_message(value):  # messages have words for them
        return ()
    if isinstance(value, PydanticModel):
        return (_as_plain(value),)
    if is_dataclass(value):
        return (getattr(value, name) for name in _written_fields(value))
    if isinstance(value, Mapping):
        return (*value, *value.values())
    return value if _is_row(value) else ()


def encode_step(
    encode: Callable[[Payload], bytes], payload: Payload, number: int, url: str, gid: str
) -> bytes:
    """Return what `encode` makes of the payload of one step; its error names the step."""
    try:
        return encode(payload)
    except InvalidUse as error:
        raise InvalidUse(f"step {number} ({url}): {error.message}", gid=gid) from error


def _checked_bytes(encoded: object) -> bytes:
    if not isinstance(encoded, bytes):
        raise InvalidUse(f"the encoder returned a {type(encoded).__name__}: it must return bytes")
    return encoded


def _check_text(payload: bytes) -> None:
    # Over HTTP a payload travels inside a JSON string.
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise InvalidUse(
            f"a payload of bytes must be UTF-8 over HTTP ({error}); binary ones need a grpc:// coordinator"
        ) from error
