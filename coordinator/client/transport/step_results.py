"""What one step answers, in the payload of another: written apart, and read from answers (PROTOCOL §6)."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coordinator.client.errors import DtmError, InvalidUse
from coordinator.client.transport.checks import wrong
from coordinator.model import Place
from coordinator.results import PLACES_MAX, path_of, text_of

Results = Mapping[str, bytes]  # what steps answered, by branch_id


@dataclass(frozen=True, slots=True)
class FromResult:
    """A value of a payload that an earlier step will have answered (PROTOCOL §6); made by `from_result`."""

    step: int
    path: str = "$"


def from_result(step: int, path: str = "$") -> FromResult:
    """Return what stands in a saga's payload for what an earlier step answers (PROTOCOL §6).

    It may be the whole payload, or stand anywhere in its dicts and lists. step: number of a step with
    `keep_result=True`, counted from 0. path: what of its answer: `$` for all of it, then any of `.name`,
    `[0]` and `["any name"]`; only `$`, as a whole payload, is for answers that are not JSON. Raises
    InvalidUse.

    Example:
        saga.add(f"{hotel}/Book", f"{hotel}/Cancel", {"nights": 2}, keep_result=True)
        saga.add(f"{bank}/Pay", f"{bank}/PayBack", {"amount": 30, "booking": from_result(0, "$.id")})
    """
    _check_types(step, path)
    try:
        path_of(path)
    except ValueError as error:
        raise InvalidUse(f"path: {error}") from error
    return FromResult(step, path)


def _check_types(step: object, path: object) -> None:
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise wrong("step", step, "the numbers of steps are ints, counted from 0")
    if not isinstance(path, str):
        raise wrong("path", path, "a path is a str, such as $.id")


@dataclass(slots=True)
class _Apart:
    """A payload being taken apart."""

    places: list[Place] = field(default_factory=list)

    def plain(self, value: Any, at: tuple[str | int, ...]) -> Any:
        if isinstance(value, FromResult):
            self.places.append(Place(text_of(at), value.step, value.path))
            return None
        if isinstance(value, dict):
            return {key: self._inner(one, at, key) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.plain(one, (*at, number)) for number, one in enumerate(value)]
        return value

    def _inner(self, value: Any, at: tuple[str | int, ...], key: Any) -> Any:
        before = len(self.places)
        plain = self.plain(value, (*at, str(key)))
        if len(self.places) > before and not isinstance(key, str):
            raise InvalidUse(f"a result can stand below keys that are str, not {key!r}")
        return plain


def taken_apart(payload: Any) -> tuple[Any, tuple[Place, ...]]:
    """Return the payload without its FromResults, and where they stood. Raises InvalidUse."""
    apart = _Apart()
    plain = apart.plain(payload, ())
    if not apart.places:
        return payload, ()
    if len(apart.places) > PLACES_MAX:
        raise InvalidUse(f"a payload has {len(apart.places)} results, at most {PLACES_MAX} fit")
    for place in apart.places:
        try:
            path_of(place.at)
        except ValueError as error:
            raise InvalidUse(f"a result stands too deep in a payload: {error}") from error
    return plain, tuple(apart.places)


def results_in(answer: Mapping[str, Any]) -> Results:
    """Read what a submit over HTTP answered."""
    try:
        texts, others = answer.get("results") or {}, answer.get("results_base64") or {}
        found = {name: str(text).encode() for name, text in texts.items()}
        return found | {name: b64decode(text) for name, text in others.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise DtmError(f"the results are not what was expected: {error!r}", answer=str(answer)) from error


def listed_results(rows: Sequence[Mapping[str, Any]]) -> Results:
    """Read what is told of a stored transaction: `branch_id`, and `text` or `base64`."""
    found: dict[str, bytes] = {}
    for row in rows:
        if row.get("base64"):
            found[row["branch_id"]] = b64decode(row["base64"])
        elif row.get("text") is not None:
            found[row["branch_id"]] = str(row["text"]).encode()
    return found
