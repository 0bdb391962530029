"""What a client sends as JSON → TransactionRequest (PROTOCOL §3). Types only: the rules are the service's.

Keys match whatever their case, null is as absent, unknown fields are ignored.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from coordinator.api.fields import (
    JsonObject,
    count,
    counts,
    flag,
    fold,
    items,
    parse_object,
    text,
    text_map,
    wrong_type,
)
from coordinator.errors import Invalid
from coordinator.model import PROTOCOL_HTTP, BranchRequest, Options, Place, Step, TransactionRequest
from coordinator.service.validate import STEPS_MAX

TRANSACTION_FIELDS: Final = frozenset(
    (
        *("gid", "trans_type", "steps", "payloads", "query_prepared", "protocol", "custom_data"),
        *("rollback_reason", "req_extra", "wait_result", "timeout_to_fail", "request_timeout"),
        *("retry_interval", "retry_limit", "concurrent", "branch_headers", "failure_statuses"),
    )
)
OPTION_FIELDS: Final = frozenset(
    (
        *("wait_result", "timeout_to_fail", "request_timeout", "retry_interval", "retry_limit"),
        *("concurrent", "branch_headers", "failure_statuses"),
    )
)
_RESULT_FIELDS: Final = frozenset(
    ("keep_result", "from_results", "compensate_payload", "compensate_from_results")
)
STEP_FIELDS: Final = frozenset(("action", "compensate", "data", "headers")) | _RESULT_FIELDS
_PLACE_FIELDS: Final = frozenset(("at", "step", "path"))
_GID_AND_REASON: Final = frozenset(("gid", "reason"))
_NO_OPTIONS: Final = Options()
_DROPPED: Final = str.maketrans("", "", "\n\r;")


def decode_transaction(body: bytes) -> TransactionRequest:
    """Decode a transaction object. Raises Invalid, naming the field, for anything that is none."""
    return transaction_from(parse_object(body))


def decode_gid(body: bytes) -> tuple[str, str]:
    """Decode `{"gid","reason"}`; "" for what is absent. Raises Invalid."""
    document = fold(parse_object(body), _GID_AND_REASON)
    return clean(text(document, "gid")), text(document, "reason")


def transaction_from(parsed: JsonObject) -> TransactionRequest:
    """Make a request of an already parsed transaction object. Raises Invalid."""
    document = fold(parsed, TRANSACTION_FIELDS)
    given_steps = items(document, "steps")
    steps = steps_from(given_steps)
    return TransactionRequest(
        clean(text(document, "gid")),
        text(document, "trans_type"),
        steps,
        _payloads(document, given_steps),
        text(document, "query_prepared"),
        text(document, "protocol") or PROTOCOL_HTTP,
        _options(document, steps),
        text(document, "custom_data"),
        text(document, "rollback_reason"),
        text_map(document, "req_extra"),
        frozenset(name for name in OPTION_FIELDS & document.keys() if document[name] is not None),
    )


def decode_registration(body: bytes) -> BranchRequest:
    """Decode a registerBranch, a flat object of strings. Raises Invalid."""
    return registration_from(parse_object(body))


def registration_from(parsed: JsonObject) -> BranchRequest:
    """Make a request of an already parsed registerBranch. Raises Invalid."""
    values = {key: text(parsed, key) for key, value in parsed.items() if value is not None}
    return BranchRequest(
        clean(values.pop("gid", "")),
        values.pop("trans_type", ""),
        values.pop("branch_id", ""),
        values.pop("data", "").encode(),
        values,
    )


def steps_from(given: list[Any], name: str = "steps") -> tuple[Step, ...]:
    """Make steps of a parsed JSON array; `name` is what an error calls it. Raises Invalid."""
    _require_few(given, name)
    steps = []
    for index, item in enumerate(given):
        if type(item) is not dict:
            raise wrong_type(f"{name}[{index}]", "an object", item)
        step = fold(item, STEP_FIELDS)
        action, compensate = step.get("action", ""), step.get("compensate", "")
        if type(action) is not str or type(compensate) is not str:  # null, or an error to be named
            path = f"{name}[{index}]."
            action, compensate = text(step, "action", path), text(step, "compensate", path)
        headers = step.get("headers")
        if headers is not None:
            headers = text_map(step, "headers", f"{name}[{index}].")
        if _RESULT_FIELDS.isdisjoint(step):
            steps.append(Step(action, compensate, headers or None))
        else:
            steps.append(_with_results(Step(action, compensate, headers or None), step, f"{name}[{index}]."))
    return tuple(steps)


def _with_results(step: Step, given: JsonObject, path: str) -> Step:
    payload = given.get("compensate_payload")
    return replace(
        step,
        keep_result=flag(given, "keep_result", path),
        from_results=_places(given, "from_results", path),
        compensate_payload=None if payload is None else text(given, "compensate_payload", path).encode(),
        compensate_from_results=_places(given, "compensate_from_results", path),
    )


def _places(given: JsonObject, key: str, path: str) -> tuple[Place, ...]:
    places = []
    for number, item in enumerate(items(given, key, path)):
        where = f"{path}{key}[{number}]"
        if type(item) is not dict:
            raise wrong_type(where, "an object", item)
        place = fold(item, _PLACE_FIELDS)
        at, of = text(place, "at", f"{where}.") or "$", text(place, "path", f"{where}.") or "$"
        if place.get("step") is None:
            raise Invalid(f"{where}.step is missing: whose result, counted from 0")
        places.append(Place(at, count(place, "step", f"{where}."), of))
    return tuple(places)


def step_headers(steps: tuple[Step, ...]) -> dict[str, Mapping[str, str]] | None:
    """The headers that steps bring, by the branch_id that the step will have; None where none does."""
    found = {f"{number:02d}": step.headers for number, step in enumerate(steps, start=1) if step.headers}
    return found or None


def clean(name: str) -> str:
    """Drop the characters that a gid or status cannot have over HTTP: newline, carriage return, semicolon."""
    return name.translate(_DROPPED) if "\n" in name or "\r" in name or ";" in name else name


def _options(document: JsonObject, steps: tuple[Step, ...]) -> Options:
    headers = step_headers(steps)
    if headers is None and OPTION_FIELDS.isdisjoint(document):
        return _NO_OPTIONS
    return Options(
        flag(document, "wait_result"),
        count(document, "timeout_to_fail"),
        count(document, "request_timeout"),
        count(document, "retry_interval"),
        count(document, "retry_limit"),
        flag(document, "concurrent"),
        text_map(document, "branch_headers"),
        tuple(counts(document, "failure_statuses")),
        headers,
    )


def _payloads(document: JsonObject, given_steps: list[Any]) -> tuple[bytes, ...]:
    """The payloads as bytes; clients of old put them into the steps, as `data`."""
    given = items(document, "payloads")
    if not given:
        return _payloads_in_steps(given_steps)
    _require_few(given, "payloads")
    try:
        return tuple([payload.encode() for payload in given])
    except AttributeError:  # one is no string: slower, to say which; null is an empty payload
        named = {f"payloads[{index}]": payload for index, payload in enumerate(given)}
        return tuple(text(named, path).encode() for path in named)


def _payloads_in_steps(given_steps: list[Any]) -> tuple[bytes, ...]:
    folded = [fold(step, STEP_FIELDS) for step in given_steps]
    if all("data" not in step for step in folded):
        return ()
    return tuple(text(step, "data", f"steps[{index}].").encode() for index, step in enumerate(folded))


def _require_few(given: list[Any], name: str) -> None:
    # Here already, because 4 MiB can hold a million steps, which would keep the event loop for seconds.
    if len(given) > STEPS_MAX:
        raise Invalid(f"{name}: a transaction may have at most {STEPS_MAX}, but has {len(given)}")
