"""The one filter grammar of people, scripts and pages: text → what is looked for. Pure.

`status:aborting endpoint:ledger error:"refused" age:>5m type:saga`: a key twice means or, keys together mean
and, `-` before one means not. A value with blanks stands in quotes.
"""

import re
from collections.abc import Collection
from datetime import timedelta
from typing import Final

from coordinator.attempt import Kind
from coordinator.errors import Invalid
from coordinator.model import Status, TransType
from coordinator.store.search import Search, Terms

LENGTH_MAX: Final = 1000  # characters of a filter
TERMS_MAX: Final = 20

_TERM: Final = re.compile(r'(?P<not>-?)(?P<key>[A-Za-z_]+):(?P<value>"(?:[^"\\]|\\.)*"|[^\s"]+)(?=\s|\Z)')
_ESCAPED: Final = re.compile(r"\\(.)")
_AGE: Final = re.compile(r"([<>])(\d{1,6})([smhd])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_FIELDS: Final = {
    "gid": "gid",
    "status": "status",
    "type": "trans_type",
    "endpoint": "endpoint",
    "op": "op",
    "kind": "kind",
    "error": "error",
    "cause": "fingerprint",
}
_KNOWN: Final[dict[str, Collection[str]]] = {
    "status": [status.value for status in Status],
    "type": [trans_type.value for trans_type in TransType],
    "kind": [kind.value for kind in Kind],
}
_KEYS: Final = ", ".join([*_FIELDS, "age"])


def quoted(value: str) -> str:
    """The value as a filter takes it, whatever is in it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parse_filter(text: str) -> Search:
    """What the filter looks for. Raises Invalid, which says where it is wrong and what may stand there."""
    if len(text) > LENGTH_MAX:
        raise Invalid(f"filter: is too long: {len(text)} characters, at most {LENGTH_MAX}")
    found: dict[str, tuple[list[str], list[str]]] = {}
    ages: dict[str, timedelta] = {}
    at, count = 0, 0
    while rest := text[at:].lstrip():
        at = len(text) - len(rest)
        term = _TERM.match(text, at)
        if term is None:
            raise _not_understood(rest, at)
        count += 1
        if count > TERMS_MAX:
            raise Invalid(f"filter: has more than {TERMS_MAX} terms")
        key, is_not, value = term["key"].lower(), bool(term["not"]), _unquoted(term["value"])
        if key == "age":
            _take_age(ages, value, is_not=is_not)
        elif key in _FIELDS:
            _check(key, value)
            found.setdefault(_FIELDS[key], ([], []))[is_not].append(value)
        else:
            raise Invalid(f"filter: there is no key {key!r}; there are {_KEYS}")
        at = term.end()
    terms = {name: Terms(tuple(any_of), tuple(none_of)) for name, (any_of, none_of) in found.items()}
    if "status" in terms and terms["status"].none_of:
        terms["status"] = _named(terms["status"])
    return Search(**terms, older_than=ages.get(">"), younger_than=ages.get("<"))


def _named(status: Terms) -> Terms:
    """The same statuses by their names where nothing that has ended is wanted: to those a key leads."""
    left = [it for it in Status if status.holds(it, part=False)]
    return status if not left or any(it.is_final for it in left) else Terms(tuple(it.value for it in left))


def _take_age(ages: dict[str, timedelta], value: str, *, is_not: bool) -> None:
    read = _AGE.fullmatch(value)
    if read is None:
        raise Invalid(f"filter: age must be such as >5m or <2h, with s, m, h or d, not {value!r}")
    sign = {">": "<", "<": ">"}[read[1]] if is_not else read[1]
    if sign in ages:
        raise Invalid(f"filter: age has two bounds of the same kind: {sign}")
    ages[sign] = timedelta(seconds=int(read[2]) * _SECONDS[read[3]])


def _check(key: str, value: str) -> None:
    if not value:
        raise Invalid(f"filter: {key} has no value")
    if key in _KNOWN and value not in _KNOWN[key]:
        raise Invalid(f"filter: {key} must be one of {', '.join(_KNOWN[key])}, not {value!r}")


def _unquoted(value: str) -> str:
    return _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value


def _not_understood(rest: str, at: int) -> Invalid:
    word = rest.split(maxsplit=1)[0][:40]
    if '"' in word:
        return Invalid(
            f"filter: at character {at + 1}, {word!r}: a quote does not end, or is not where a value is"
        )
    return Invalid(f"filter: at character {at + 1}, {word!r} is no key:value; keys are {_KEYS}")
