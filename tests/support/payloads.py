"""Values that programs hand to the client as payloads, and what a branch is to get of each."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as AsyncpgUuid
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import StringValue
from pydantic import BaseModel

from branches.proto.user import UserRequest

PRICE = Decimal("1.10")
NUMBER = "0f9d4e7c-7d3c-4a30-8f0d-3a7a3c0f5b11"
AT = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
AT_TEXT = "2026-01-02T03:04:05.000006+00:00"


class Colour(Enum):
    GREEN = "green"


class Size(IntEnum):
    LARGE = 3


class Kind(StrEnum):
    PEAR = "pear"


class Rate(Enum):
    FULL = Decimal("0.20")


class OwnMoment(datetime):
    """As libraries for dates have one."""


class OwnDay(date):
    pass


@dataclass(frozen=True, slots=True)
class Line:
    price: Any
    _note: str = "not sent"


class Order(BaseModel):
    id: UUID
    price: Decimal
    at: datetime
    colour: Colour = Colour.GREEN
    lines: list[Line] = []


class Pair(NamedTuple):
    name: str
    price: Decimal


def field() -> FieldDescriptorProto:
    """Return a message of google's protobuf library with a name of two words in it."""
    return FieldDescriptorProto(name="price", number=3, json_name="cost")


# In any place of a payload each arrives as this JSON, over both protocols.
VALUES: list[tuple[Any, Any]] = [
    (PRICE, "1.10"),
    (Decimal("12345678901234567890.123456789"), "12345678901234567890.123456789"),
    (UUID(NUMBER), NUMBER),
    (AsyncpgUuid(NUMBER), NUMBER),
    (AT, AT_TEXT),
    (datetime.fromisoformat("2026-01-02T03:04:05"), "2026-01-02T03:04:05"),
    (OwnMoment(2026, 1, 2, 3, 4, 5, 6, UTC), AT_TEXT),
    (date(2026, 1, 2), "2026-01-02"),
    (OwnDay(2026, 1, 2), "2026-01-02"),
    (time(3, 4), "03:04:00"),
    (Colour.GREEN, "green"),
    (Size.LARGE, 3),
    (Kind.PEAR, "pear"),
    (Rate.FULL, "0.20"),
    (Line(PRICE), {"price": "1.10"}),
    (Line(Line(Rate.FULL)), {"price": {"price": "0.20"}}),
    (Line([{"id": UUID(NUMBER)}]), {"price": [{"id": NUMBER}]}),
    (
        Order(id=UUID(NUMBER), price=PRICE, at=datetime.fromisoformat("2026-01-02")),
        {"id": NUMBER, "price": "1.10", "at": "2026-01-02T00:00:00", "colour": "green", "lines": []},
    ),
    (Pair("pear", PRICE), ["pear", "1.10"]),
    (MappingProxyType({"price": PRICE}), {"price": "1.10"}),
    (deque([PRICE, field()]), ["1.10", {"name": "price", "number": 3, "jsonName": "cost"}]),
]
# Over gRPC these travel as what they are where they are the whole payload, inside another one as this JSON.
MESSAGES: list[tuple[Any, Any]] = [
    (field(), {"name": "price", "number": 3, "jsonName": "cost"}),
    (Timestamp(seconds=1), "1970-01-01T00:00:01Z"),
    (StringValue(value="pear"), "pear"),
    (UserRequest(id="7", name="Ann"), {"id": "7", "name": "Ann"}),
]
KEYS: Mapping[Any, str] = {
    True: "true",
    None: "null",
    PRICE: "1.10",
    UUID(NUMBER): NUMBER,
    AsyncpgUuid(NUMBER.replace("0f", "1f")): NUMBER.replace("0f", "1f"),
    date(2026, 1, 2): "2026-01-02",
    OwnMoment(2026, 1, 2): "2026-01-02T00:00:00",
    Colour.GREEN: "green",
    Size.LARGE: "3",
    Kind.PEAR: "pear",
    Rate.FULL: "0.20",
}
