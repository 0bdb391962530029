"""Typed reading of JSON values that a client sent: the value, or Invalid, whose sentence names the field.

Strict: nothing is converted (`2.0` is no integer, `"true"` no bool), and null is as absent (PROTOCOL §3).
Hand-written over orjson's dictionaries because this is on the way of every request.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from coordinator.errors import Invalid

INT64_MAX: Final = 2**63 - 1

JsonObject = dict[str, Any]  # what orjson makes of a JSON object

_KINDS: Final = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def parse(body: bytes | str, name: str = "the body") -> Any:
    """Parse JSON; `name` is what the sentence calls it.

    Raises Invalid for anything but one JSON value in UTF-8: text after it, lone surrogates and too deep
    nesting included.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Invalid(_not_json(body, name, error)) from error


def parse_object(body: bytes | str, name: str = "the body") -> JsonObject:
    """Parse JSON whose top is an object. Raises Invalid otherwise."""
    value = parse(body, name)
    if type(value) is not dict:
        raise wrong_type(name, "a JSON object", value)
    return value


def fold(document: JsonObject, known: frozenset[str]) -> JsonObject:
    """Return the document with its keys in lower case, as `known` has them; null values may be left out.

    Of two keys that differ in case only, the later one counts, unless it is null.
    """
    if document.keys() <= known:  # the rule: nothing to copy
        return document
    return {key.lower(): value for key, value in document.items() if value is not None}


def text(document: JsonObject, key: str, path: str = "") -> str:
    """The string at `key`, "" when absent. `path` comes before the key in the sentence of Invalid."""
    value = document.get(key)
    if type(value) is str:
        return value
    if value is None:
        return ""
    raise wrong_type(path + key, "a string", value)


def flag(document: JsonObject, key: str, path: str = "") -> bool:
    """The boolean at `key`, False when absent. `path`: see text. Raises Invalid."""
    value = document.get(key)
    if value is None or type(value) is bool:
        return bool(value)
    raise wrong_type(path + key, "true or false", value)


def count(document: JsonObject, key: str, path: str = "") -> int:
    """The integer at `key`, from 0 to 2**63 - 1; 0 when absent. `path`: see text. Raises Invalid."""
    value = document.get(key)
    if value is None:
        return 0
    if type(value) is int:
        return checked_count(value, path + key)
    if type(value) is float:
        # orjson reads an integer of more than 64 bits as a float, too.
        raise Invalid(f"{path}{key}: must be an integer from 0 to {INT64_MAX}, not {value!r}")
    raise wrong_type(path + key, "an integer", value)


def counts(document: JsonObject, key: str) -> list[int]:
    """The array at `key`, whose values are all integers from 0; empty when absent. Raises Invalid."""
    given = items(document, key)
    return [count({f"{key}[{index}]": value}, f"{key}[{index}]") for index, value in enumerate(given)]


def checked_count(value: int, key: str) -> int:
    """Return the value when it is from 0 to 2**63 - 1. Raises Invalid."""
    if 0 <= value <= INT64_MAX:
        return value
    problem = "must not be negative" if value < 0 else f"must be at most {INT64_MAX}"
    raise Invalid(f"{key}: {problem}, but is {value}")


def text_map(document: JsonObject, key: str, path: str = "") -> Mapping[str, str]:
    """The object at `key`, whose values are all strings; null values are left out. Raises Invalid.

    path: comes before the key in the sentence of Invalid.
    """
    value = document.get(key)
    if value is None:
        return {}
    if type(value) is not dict:
        raise wrong_type(path + key, "an object", value)
    for name, item in value.items():
        if type(item) is not str and item is not None:
            raise wrong_type(f"{path}{key}.{name}", "a string", item)
    return {name: item for name, item in value.items() if item is not None}


def items(document: JsonObject, key: str, path: str = "") -> list[Any]:
    """The array at `key`, empty when absent. `path`: see text. Raises Invalid."""
    value = document.get(key)
    if type(value) is list:
        return value
    if value is None:
        return []
    raise wrong_type(path + key, "an array", value)


def wrong_type(path: str, wanted: str, value: object) -> Invalid:
    """The error for a value of another type, naming the field by its path."""
    return Invalid(f"{path}: must be {wanted}, not {_KINDS.get(type(value), 'something else')}")


def _not_json(body: bytes | str, name: str, error: orjson.JSONDecodeError) -> str:
    if not body:
        return f"{name} is empty where JSON is expected"
    if isinstance(body, bytes):
        try:
            body.decode()
        except UnicodeDecodeError as bad:
            return f"{name} is not UTF-8: byte 0x{body[bad.start]:02x} at position {bad.start}"
    return f"{name} is not JSON: {error}"
