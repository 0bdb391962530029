"""The frame of these programs: cases that run side by side, and the line that each prints."""

import concurrent.futures
import json
import os
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FINAL_SECONDS = 75
NUDGE_SECONDS = 0.7

HTTP = os.environ["INTEROP_HTTP"]
API = f"{HTTP}/api/dtmsvr"


@dataclass(frozen=True)
class Case:
    """One pattern over one protocol."""

    pattern: str
    protocol: str
    run: Callable[[], None]


_cases: list[Case] = []


def case(pattern: str, protocol: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a function as a case."""

    def register(run: Callable[[], None]) -> Callable[[], None]:
        _cases.append(Case(pattern, protocol, run))
        return run

    return register


def main() -> None:
    """Run all of them, eight at a time, and print one line each."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for text in pool.map(_line, _cases):
            # In one piece, on a line of its own: the libraries print from other threads meanwhile.
            print(f"\n{text}\n", end="", flush=True)


def _line(it: Case) -> str:
    began = time.monotonic()
    result, why = "passed", ""
    try:
        it.run()
    except Exception:  # noqa: BLE001 - whatever it is, it is this line's reason
        result, why = "failed", " ⏎ ".join(traceback.format_exc().replace("\t", " ").splitlines()[-12:])
    return f"{result}\t{it.pattern}\t{it.protocol}\t{time.monotonic() - began:.1f} s\t{why}"


def new_account(kind: str) -> str:
    """Return a name that nobody has."""
    return f"{kind}-{uuid.uuid4().hex}"


def post(operation: str, body: object) -> tuple[int, dict[str, Any]]:
    """Return status and answer of one HTTP call."""
    request = urllib.request.Request(f"{API}/{operation}", json.dumps(body).encode(), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def query(gid: str) -> dict[str, Any]:
    """Return what the query call prints."""
    with urllib.request.urlopen(
        f"{API}/query?{urllib.parse.urlencode({'gid': gid})}", timeout=10
    ) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def status(gid: str) -> str:
    """Return the stored status."""
    found: str = query(gid)["transaction"]["status"]
    return found


def ends(gid: str, expected: str, rows: str, *, nudged: bool = False) -> None:
    """Wait for a final status and compare the rows. nudged: made due whenever nothing happens for a while."""
    deadline, last = time.monotonic() + FINAL_SECONDS, time.monotonic()
    while (found := query(gid))["transaction"]["status"] not in {"succeed", "failed"}:
        assert time.monotonic() < deadline, f"not final after {FINAL_SECONDS} s: {found}"
        if nudged and time.monotonic() - last > NUDGE_SECONDS:
            post("resetNextCronTime", {"gid": gid})
            last = time.monotonic()
        time.sleep(0.05)  # the coordinator has no event for its outside
    assert found["transaction"]["status"] == expected, found
    stored = ", ".join(f"{row['branch_id']} {row['op']} {row['status']}" for row in found["branches"])
    assert stored == rows, f"rows: {stored}, expected {rows}"
