"""What a row of a workflow says: what the step is called, its result as bytes (PROTOCOL §5, §7). Pure."""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from coordinator.client.errors import DtmError, Failure, InvalidUse
from coordinator.client.transport.checks import (
    PAYLOAD_BYTES_MAX,
    TEXT_CHARACTERS_MAX,
    check_text,
    is_http,
    wrong,
)
from coordinator.client.transport.payload import as_json
from coordinator.discovery.local import LOCAL, is_local

ROW_BYTES_MAX: Final = PAYLOAD_BYTES_MAX  # column bin_data
NAME_CHARACTERS_MAX: Final = 200
PATCH: Final = "patch"  # the op of a change that counts
PATCH_CHARACTERS_MAX: Final = 80
_BASE64: Final = b"base64:"
_EXTERNAL: Final = b"external:"  # then the key under which it is kept elsewhere
_TOO_LARGE: Final = b"too-large:"  # then how many bytes it had
_CANCELLED: Final = b"cancelled:"  # then why
_OWN_PREFIXES: Final = (_BASE64, _EXTERNAL, _TOO_LARGE, _CANCELLED)
_NAMES_REMEMBERED_MAX: Final = 1024
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Step:
    """A step's place, `02`, and what stands there: `do:charge`, `saga:bank.Bank/Out`."""

    branch_id: str
    name: str

    def __str__(self) -> str:
        return f"{self.branch_id} {self.name}"


class Halted(BaseException):
    """The function goes no further in this run: it sleeps. No Exception, which functions may catch."""


class ResultTooLarge(InvalidUse):
    """Something is done, and what it returned cannot be recorded: the workflow is rolled back, and that too.

    what: whose result it is. size, most: bytes.
    """

    def __init__(self, what: str, size: int, most: int, gid: str) -> None:
        super().__init__(
            f"{what} returned {size:,} bytes, at most {most:,} can be recorded: it counts as done, and the "
            "workflow is rolled back with it. Return less, or give Workflows a place for large results "
            "(external=)",
            gid=gid,
        )
        self.size = size


class Cancelled(Failure):
    """Somebody wants it rolled back: no other step begins. why: in the words of who did."""

    def __init__(self, why: str, gid: str) -> None:
        super().__init__(f"cancelled: {why}" if why else "cancelled", gid=gid)
        self.why = why


@lru_cache(_NAMES_REMEMBERED_MAX)
def named(kind: str, given: str, otherwise: str) -> str:
    """Return what a step's row calls it. given: by the user, "" for nothing. Raises InvalidUse."""
    check_text("name", given, characters_max=NAME_CHARACTERS_MAX)
    if _CONTROL.search(given):
        raise wrong("name", given, "give a name without control characters")
    name = given or _CONTROL.sub("", otherwise)[:NAME_CHARACTERS_MAX]
    return f"{kind}:{name}" if name else kind


def function_name(function: Callable[..., Any]) -> str:
    """Return what a function is called where it was written."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def url_name(url: str) -> str:
    """Return the path of a url, gRPC's method, or a function's name: hosts change while a workflow runs."""
    if is_local(url):
        return url.removeprefix(LOCAL)
    path = urlsplit(url).path if is_http(url) else url.partition("/")[2]
    return path.strip("/")


def patch(prefix: str, name: str) -> Step:
    """Return where it is recorded that a change counts, in the chain of steps with this prefix.

    Raises InvalidUse for what can be no change's name.
    """
    check_text("name", name, characters_max=PATCH_CHARACTERS_MAX)
    if not name or _CONTROL.search(name):
        raise wrong("name", name, "give a name without control characters")
    return Step(f"{prefix}-{name}" if prefix else f"00-{name}", f"patched:{name}")


def packed(data: bytes) -> bytes:
    """Return the data as text: over HTTP a payload travels inside a JSON string."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return _BASE64 + base64.b64encode(data)
    return _BASE64 + base64.b64encode(data) if data.startswith(_OWN_PREFIXES) else data


def unpacked(row: bytes) -> bytes:
    """Return what was packed. Raises DtmError for what nobody can have packed."""
    if not row.startswith(_BASE64):
        return row
    try:
        return base64.b64decode(row.removeprefix(_BASE64), validate=True)
    except binascii.Error as error:
        raise DtmError(f"a recorded step is not what this client writes: {row[:50]!r}") from error


def marked_cancelled(why: str) -> bytes:
    """Return what stands in the row of a step that was not begun, as the workflow was cancelled."""
    return _CANCELLED + why.encode()


def why_cancelled(row: bytes) -> str | None:
    """Return why; None of a step that said no by itself."""
    return row.removeprefix(_CANCELLED).decode() if row.startswith(_CANCELLED) else None


def moment_row(moment: datetime) -> bytes:
    """Return what stands in the row of a sleep: until when, in UTC."""
    return orjson.dumps(moment.astimezone(UTC).isoformat(timespec="milliseconds"))


def moment_in(row: bytes) -> datetime:
    """Return the moment. Raises DtmError for what is none."""
    try:
        moment = datetime.fromisoformat(orjson.loads(row))
    except (TypeError, ValueError) as error:
        raise DtmError(f"a recorded sleep is not what this client writes: {row[:50]!r}") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def kept_elsewhere(key: str) -> bytes:
    """Return what stands in the row of a result that is kept under this key."""
    return _EXTERNAL + key.encode()


def key_elsewhere(row: bytes) -> str | None:
    """Return the key under which the result is kept; None where it stands in the row."""
    return row.removeprefix(_EXTERNAL).decode() if row.startswith(_EXTERNAL) else None


def marked_too_large(size: int) -> bytes:
    """Return what stands in the row of a result of so many bytes, which is lost."""
    return _TOO_LARGE + str(size).encode()


def size_too_large(row: bytes) -> int | None:
    """Return how many bytes the lost result had; None where nothing was lost."""
    rest = row.removeprefix(_TOO_LARGE)
    return int(rest) if row.startswith(_TOO_LARGE) and rest.isdigit() else None


def custom_data(name: str, data: bytes) -> str:
    """Return what is stored with a workflow (§7): its name and the data it is begun with."""
    return orjson.dumps({"name": name, "data": base64.b64encode(data).decode()}).decode()


def data_bytes_max(name: str) -> int:
    """How many bytes of data there is room for beside this name."""
    return max(0, TEXT_CHARACTERS_MAX - len(custom_data(name, b""))) // 4 * 3


def result_bytes_max() -> int:
    """How many bytes a workflow's own result may have: it is stored as base64."""
    return TEXT_CHARACTERS_MAX // 4 * 3


def begun_with(stored: str) -> tuple[str, bytes] | None:
    """Return name and data of a stored workflow; None where nobody tells, or that another client wrote."""
    try:
        found = orjson.loads(stored)
        return str(found["name"]), base64.b64decode(found.get("data") or "", validate=True)
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def to_json(value: Any, what: str) -> bytes:
    """Return the JSON that `from_json` reads, nothing for None. Raises InvalidUse, saying what has none."""
    return b"" if value is None else as_json(value, what)


def from_json(data: bytes) -> Any:
    """Return the value. Raises DtmError for what is no JSON."""
    if not data:
        return None
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise DtmError(f"not JSON: {data[:200]!r}") from error
