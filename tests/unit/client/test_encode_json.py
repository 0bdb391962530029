"""What `encode_json` writes of a value in any place, and what it refuses."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import product
from typing import Any

import betterproto2
import pytest
from google.protobuf.descriptor_pb2 import UninterpretedOption
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import DoubleValue, StringValue
from pydantic import BaseModel, ConfigDict, RootModel

from branches.proto.user import UserRequest
from coordinator.client import InvalidUse, encode_json
from coordinator.client.transport.payload import encode_payload
from coordinator.model import PROTOCOL_GRPC, PROTOCOL_HTTP
from tests.support.payloads import KEYS, MESSAGES, PRICE, VALUES, Line

Place = Callable[[Any], Any]

# Of a payload, and of the JSON that arrives.
PLACES: list[tuple[Place, Place]] = [
    (lambda value: value, lambda json: json),
    (lambda value: [value], lambda json: [json]),
    (lambda value: {"a": value, "b": None}, lambda json: {"a": json, "b": None}),
    (lambda value: Line((value,)), lambda json: {"price": [json]}),
    (lambda value: {1: {"a": value}}, lambda json: {"1": {"a": json}}),
    (lambda value: Line([{PRICE: value}]), lambda json: {"price": [{"1.10": json}]}),
]


def read(payload: Any) -> Any:
    return json.loads(encode_json(payload))


@pytest.mark.parametrize(("places", "pair"), list(product(PLACES, [*VALUES, *MESSAGES])))
def test_a_value_is_the_same_json_in_every_place(places: tuple[Place, Place], pair: tuple[Any, Any]) -> None:
    (put, arrives), (value, value_arrives) = places, pair
    assert read(put(value)) == arrives(value_arrives)


@pytest.mark.parametrize(("key", "text"), list(KEYS.items()))
def test_keys_are_text(key: Any, text: str) -> None:
    assert read({key: 1}) == {text: 1}
    assert read([Line({"a": {key: PRICE}})]) == [{"price": {"a": {text: "1.10"}}}]
    assert read({key: 1, PRICE: 2}) == {text: 1, "1.10": 2}


class Odd(Enum):
    NAN = math.nan


@dataclass
class Hidden:
    _rate: float
    name: None = None


@dataclass(eq=False, repr=False)
class Rate(betterproto2.Message):
    value: float = betterproto2.field(1, betterproto2.TYPE_DOUBLE)


class Rates(RootModel[list[float | None]]):
    pass


class RateSet(BaseModel):
    rates: set[float]


class Free(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    name: StringValue


@pytest.mark.parametrize(
    "payload",
    [
        *({"a": None, "b": Odd.NAN}, {math.nan: 1}, [{"a": {-math.inf: 1}}], {PRICE: {math.nan: 1}}),
        *({PRICE: math.inf}, [Line(math.nan)], Rates([math.nan]), [RateSet(rates={math.inf})]),
    ],
)
def test_what_would_arrive_as_null_is_refused_wherever_it_stands(payload: Any) -> None:
    with pytest.raises(InvalidUse, match=r"it holds (nan|-?inf), for which JSON has no number"):
        encode_json(payload)


def test_a_nan_that_is_not_sent_or_has_a_word_is_none_of_that() -> None:
    assert read(Rates([0.5, None])) == [0.5, None]
    assert read([Hidden(math.nan)]) == [{"name": None}]
    assert read([None, DoubleValue(value=math.nan), Rate(math.inf)]) == [None, "NaN", {"value": "Infinity"}]


def test_what_has_no_json_says_why() -> None:
    unready = Struct()
    unready["a"] = math.nan
    endless: dict[Any, Any] = {}
    endless[PRICE] = endless
    for payload, why in [
        ([b"raw"], "type bytes has no JSON form"),
        ({"a": {1}}, "type set has no JSON form"),
        ({(1, 2): 3}, "a key of type tuple has no text"),
        ({"a": unready}, "NaN"),
        ([Free(name=StringValue())], "StringValue"),
        ([UninterpretedOption.NamePart()], "NamePart without name_part, is_extension is not complete"),
        (endless, "recursion"),
    ]:
        with pytest.raises(InvalidUse, match=f"cannot be written as JSON: .*{why}"):
            encode_json(payload)


@pytest.mark.parametrize("protocol", [PROTOCOL_HTTP, PROTOCOL_GRPC])
@pytest.mark.parametrize("given", [Line, Free, UserRequest, StringValue])
def test_a_class_in_the_place_of_its_instance_is_refused(given: Any, protocol: str) -> None:
    for payload in (given, [given]):
        with pytest.raises(InvalidUse, match=f"{given.__name__} is a class, give one of its instances"):
            encode_payload(payload, protocol)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (UninterpretedOption.NamePart(), "NamePart without name_part, is_extension is not complete"),
        (UserRequest(id=7), "encode"),  # type: ignore[arg-type]
    ],
)
def test_a_message_that_cannot_be_written_is_refused_over_grpc(message: Any, why: str) -> None:
    with pytest.raises(InvalidUse, match=f"of type {type(message).__name__} cannot be written .*{why}"):
        encode_payload(message, PROTOCOL_GRPC)
