"""Results of steps that are kept, and the places of payloads that they fill (PROTOCOL §6, *here*). Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from coordinator.model import Place, Step

RESULT_BYTES_MAX: Final = 16_384  # of one step's answer
KEPT_MAX: Final = 64  # steps of one transaction that keep their result: a megabyte at most
PLACES_MAX: Final = 64  # of one payload
PATH_MAX: Final = 256  # characters

# How urls begin that no other server calls: it finds no such scheme, and leaves the transaction to us.
KEEPS: Final = "result+"
USES: Final = "from-result+"
MARKS: Final = (KEEPS, USES)

_NAME: Final = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)")
_INDEX: Final = re.compile(r"\[(0|[1-9][0-9]{0,5})\]")
_QUOTED: Final = re.compile(r'\[("(?:[^"\\]|\\.)*")\]')
_MISSING: Final = object()

Path = tuple[str | int, ...]


class NoResult(ValueError):
    """What a payload needs of a result is not there."""


def path_of(text: str) -> Path:
    """Read a path: `$`, then any of `.name`, `[0]` and `["any name"]`. Raises ValueError, with a sentence."""
    if not text.startswith("$") or len(text) > PATH_MAX:
        raise ValueError(
            f"{text[:PATH_MAX]!r} is no path: it begins with $ and has {PATH_MAX} characters at most"
        )
    parts: list[str | int] = []
    position = 1
    while position < len(text):
        if found := _NAME.match(text, position):
            parts.append(found[1])
        elif found := _INDEX.match(text, position):
            parts.append(int(found[1]))
        elif found := _QUOTED.match(text, position):
            parts.append(_unquoted(found[1], text))
        else:
            left = text[position:]
            raise ValueError(f'{text!r} is no path: at {left!r} there must be .name, [0] or ["any name"]')
        position = found.end()
    return tuple(parts)


def text_of(path: Path) -> str:
    """Write a path as `path_of` reads it."""
    parts = []
    for part in path:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        else:
            parts.append(f".{part}" if _NAME.fullmatch(f".{part}") else f"[{json.dumps(part)}]")
    return "".join(("$", *parts))


def _unquoted(quoted: str, text: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError as error:
        raise ValueError(f"{text!r} is no path: {quoted} is no JSON string") from error


def marked(url: str, *, keeps: bool = False, uses: bool = False) -> str:
    """The url of a row whose result is kept, or whose payload uses results; an empty one stays empty."""
    if not url:
        return url
    return f"{KEEPS if keeps else ''}{USES if uses else ''}{url}"


def plain_url(url: str) -> str:
    """The url to be called."""
    if url.startswith(MARKS):
        return url.removeprefix(KEEPS).removeprefix(USES)
    return url


def keeps(url: str) -> bool:
    """Whether the result of this row is kept."""
    return url.startswith(KEEPS)


def uses(url: str) -> bool:
    """Whether the payload of this row is a `template`."""
    return url.startswith((USES, KEEPS + USES))


def undo_of(step: Step, payload: bytes) -> tuple[bytes, tuple[Place, ...]]:
    """What a step's compensation is given: its own, or what the action is."""
    if step.compensate_payload is None and not step.compensate_from_results:
        return payload, step.from_results
    return step.compensate_payload or b"", step.compensate_from_results


def stored_payload(payload: bytes, places: Sequence[Place]) -> bytes:
    """The payload as its row keeps it. Raises ValueError as `template`."""
    return template(payload, places) if places else payload


def template(payload: bytes, places: Sequence[Place]) -> bytes:
    """The payload and what fills it, as a row keeps both. Raises ValueError, with a sentence.

    payload: JSON that has a value at each place; nothing, where a result is all of it.
    """
    given = _loaded(payload or b"null", "the payload")
    for number, place in enumerate(places):
        try:
            value_at(given, path_of(place.at))
        except NoResult as error:
            raise ValueError(f"[{number}].at: the payload {error}") from error
    paths = [path_of(place.at) for place in places]
    for number, path in enumerate(paths):
        if any(path[: len(other)] == other for at, other in enumerate(paths) if at != number):
            raise ValueError(f"[{number}].at: {places[number].at} lies within another's place, or is it")
    of_places = [{"at": it.at, "step": it.step, "path": it.path} for it in places]
    return b'{"from_results":%b,"payload":%b}' % (_dumped(of_places), payload or b"null")


def places_of(stored: bytes) -> tuple[Place, ...]:
    """What fills a stored `template`. Raises ValueError for what is none."""
    return _read(stored)[1]


def filled(stored: bytes, results: Mapping[int, bytes], *, missing_is_null: bool = False) -> bytes:
    """The payload to be sent: a `template` with the results, by step, at their places.

    A result that is all of a payload is sent as it came. missing_is_null: what there is none of is null; else
    NoResult is raised.
    """
    payload, places = _read(stored)
    whole = next((place for place in places if place.at == "$"), None)
    if whole is not None and whole.path == "$" and whole.step in results:
        return results[whole.step]
    for place in places:
        try:
            value = _of_result(place, results)
        except NoResult:
            if not missing_is_null:
                raise
            value = None
        payload = _put(payload, path_of(place.at), value)
    return _dumped(payload)


def problem_of(result: bytes, step: int, needed: Sequence[Place]) -> str:
    """Why this result of a step cannot be kept, or not be used as it is to be; empty where it can.

    needed: the places of all payloads that come after it.
    """
    if len(result) > RESULT_BYTES_MAX:
        return f"the result has {len(result)} bytes; at most {RESULT_BYTES_MAX} are kept"
    for place in needed:
        if place.step == step and not (place.path == "$" and place.at == "$"):
            try:
                _of_result(place, {step: result})
            except NoResult as error:
                return str(error)
    return ""


def value_at(value: Any, path: Path) -> Any:
    """The value there. Raises NoResult: `has no $.a.b`."""
    for number, part in enumerate(path, start=1):
        if isinstance(part, int):
            value = value[part] if isinstance(value, list) and part < len(value) else _MISSING
        else:
            value = value.get(part, _MISSING) if isinstance(value, dict) else _MISSING
        if value is _MISSING:
            raise NoResult(f"has no {text_of(path[:number])}")
    return value


def _of_result(place: Place, results: Mapping[int, bytes]) -> Any:
    result = results.get(place.step)
    if result is None:
        raise NoResult(f"no result of step {place.step} is kept, which a payload needs ({place.path})")
    try:
        value = _loaded(result, f"the result of step {place.step}")
    except ValueError as error:
        raise NoResult(f"{error}, and a payload needs its {place.path}") from error
    try:
        return value_at(value, path_of(place.path))
    except NoResult as error:
        raise NoResult(f"the result of step {place.step} {error}, which a payload needs") from error


def _put(value: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    value_at(value, path[:-1])[path[-1]] = new
    return value


def _read(stored: bytes) -> tuple[Any, tuple[Place, ...]]:
    try:
        envelope = _loaded(stored, "the stored payload")
        places = tuple(Place(it["at"], it["step"], it["path"]) for it in envelope["from_results"])
        return envelope["payload"], places
    except (KeyError, TypeError) as error:
        raise ValueError("the stored payload says not which results it uses") from error


def _loaded(text: bytes, name: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no JSON") from error


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _dumped(value: Any) -> bytes:
    # Lone surrogates are what `replace` is for: JSON may escape them, UTF-8 has none.
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    except RecursionError as error:
        raise NoResult("a payload with its results is nested too deeply") from error
