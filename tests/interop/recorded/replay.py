"""Make the recorded calls at a server, and say where its answers differ from the recorded ones.

http.json has a call an entry: what is sent, what came back, and what the branches were asked meanwhile.
What no two runs have alike is replaced: {run} (a prefix of every gid), {branch} (the branch service's
url), TIME, OWNER, NEWGID, POSITION; row ids are 0.
"""

import json
import re
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.interop.recorded.branches import BranchService

RECORDED = Path(__file__).with_name("http.json")
COMPARED = ("status", "content_type", "answer", "branch_calls")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)")
_GID = re.compile(r"[1-9A-HJ-NP-Za-km-z]{20,22}")


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where an answer is another. path: `answer.transaction.options`, list items by number."""

    number: int
    name: str
    path: str
    recorded: object
    ours: object

    def __str__(self) -> str:
        return f"{self.number} {self.name}: {self.path}: recorded {self.recorded!r}, ours {self.ours!r}"


def entries() -> list[dict[str, Any]]:
    """Return the recorded calls, in the order in which they are made."""
    found: list[dict[str, Any]] = json.loads(RECORDED.read_text("utf-8"))
    return found


def differences(url: str, *, pause_seconds: float = 0) -> list[Difference]:
    """Make all calls at `url` (`http://host:port`) and compare.

    pause_seconds: after each call, for a server that answers before it has written.
    """
    found: list[Difference] = []
    run = uuid.uuid4().hex[:8]
    with BranchService() as branches:
        for entry in entries():
            filled = json.loads(json.dumps(entry).replace("{run}", run).replace("{branch}", branches.url))
            actual = without_what_changes(_call(url, filled, branches), run, branches.url)
            time.sleep(pause_seconds)
            for field in COMPARED:
                if field in entry:
                    found += (
                        Difference(entry["number"], entry["name"], *place)
                        for place in _compare(field, entry[field], actual[field])
                    )
    return found


def _call(url: str, entry: dict[str, Any], branches: BranchService) -> dict[str, Any]:
    body = entry.get("body")
    data = None if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
    gid = _gid_of(body)
    before = branches.count(gid)
    request = urllib.request.Request(
        url + entry["path"],
        data=data,
        method=entry["method"],
        headers={"content-type": "application/json"} if data else {},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            status, headers, text = response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            status, headers, text = error.code, error.headers, error.read().decode()
    expected = len(entry.get("branch_calls", []))
    return {
        "status": status,
        "content_type": headers.get("content-type", "").partition(";")[0],
        "answer": parsed(text),
        "branch_calls": branches.asked(gid, since=before, at_least=expected) if gid else [],
    }


def _gid_of(body: object) -> str:
    if not isinstance(body, dict):
        return ""
    gid = body.get("gid") or (body.get("params") or {}).get("gid") or ""
    return gid if isinstance(gid, str) else ""


def parsed(text: str) -> object:
    """Return the JSON value, or the text itself when it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def without_what_changes(value: Any, run: str, branch: str, key: str = "") -> Any:
    """Replace what no two runs have alike. run, branch: what {run} and {branch} stand for this time."""
    match value:
        case dict():
            return {name: without_what_changes(it, run, branch, name) for name, it in value.items()}
        case list():
            return [without_what_changes(it, run, branch) for it in value]
        case bool():
            return value
        case int() if key == "id":
            return 0
        case str() if key == "owner" and value:
            return "OWNER"
        case str() if key == "next_position" and value.isdigit():
            return "POSITION"
        case str() if key == "gid" and _GID.fullmatch(value):
            return "NEWGID"
        case str():
            return _TIME.sub("TIME", value.replace(run, "{run}").replace(branch, "{branch}"))
        case _:
            return value


def _compare(path: str, recorded: Any, actual: Any) -> Iterator[tuple[str, object, object]]:
    """Yield the places that differ; a missing key is None."""
    if isinstance(recorded, dict) and isinstance(actual, dict):
        for key in {**recorded, **actual}:
            if (key in recorded) != (key in actual):
                yield f"{path}.{key}", recorded.get(key), actual.get(key)
            else:
                yield from _compare(f"{path}.{key}", recorded[key], actual[key])
    elif isinstance(recorded, list) and isinstance(actual, list) and len(recorded) == len(actual):
        for index, pair in enumerate(zip(recorded, actual, strict=True)):
            yield from _compare(f"{path}.{index}", *pair)
    elif recorded != actual:
        yield path, recorded, actual
