"""A coordinator of ours and one of the reference over one MySQL database."""

import asyncio
import contextlib
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from coordinator.client import LocalCall, Ongoing, Status
from coordinator.embedded import Coordinator
from tests.support.under_test import CoordinatorProcess

FINAL_SECONDS = 120


@dataclass
class Fleet:
    """Both servers' addresses, and a branch that is asked by either."""

    ours: CoordinatorProcess
    reference: str  # http://host:port
    branch: str
    state: dict[str, Any]  # open: whether the branch says yes; calls: "op agent"

    def submit(self, url: str, **step: Any) -> str:
        """Submit a saga whose branch is not finished yet; return its gid. step: what else its step has."""
        gid = f"mixed-{uuid.uuid4().hex[:12]}"
        saga = {
            "gid": gid,
            "trans_type": "saga",
            "steps": [{"action": self.branch, "compensate": self.branch, **step}],
            "payloads": ["{}"],
            "wait_result": True,
        }
        request = urllib.request.Request(f"{url}/api/dtmsvr/submit", json.dumps(saga).encode(), method="POST")
        with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=20):
            pass
        return gid

    def until_final(self, url: str, gid: str) -> str:
        """Open the branch, make the transaction due, and wait for its end as seen at `url`."""
        self.state["open"] = True
        deadline = time.monotonic() + FINAL_SECONDS
        while True:
            self._make_due(url, gid)
            status: str = self._transaction(url, gid)["status"]
            if status in {"succeed", "failed"}:
                return status
            assert time.monotonic() < deadline, f"still {status} after {FINAL_SECONDS} s"
            time.sleep(0.5)  # neither server has an event for its outside

    def until_backed_off(self, url: str, gid: str) -> None:
        """Make the transaction due, and wait until the server there has met an unknown result."""
        first = self._transaction(url, gid)["next_cron_interval"]
        deadline = time.monotonic() + FINAL_SECONDS
        while (found := self._transaction(url, gid))["next_cron_interval"] <= first:
            assert found["status"] == "submitted", found
            assert time.monotonic() < deadline, f"nobody has tried it in {FINAL_SECONDS} s: {found}"
            self._make_due(url, gid)
            time.sleep(0.5)  # neither server has an event for its outside

    def _transaction(self, url: str, gid: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{url}/api/dtmsvr/query?gid={gid}", timeout=10) as response:
            found: dict[str, Any] = json.load(response)["transaction"]
        return found

    def _make_due(self, url: str, gid: str) -> None:
        body = json.dumps({"gid": gid}).encode()
        with urllib.request.urlopen(f"{url}/api/dtmsvr/resetNextCronTime", data=body, timeout=10):
            pass


Scenario = Callable[[Fleet], None]


@contextmanager
def joined(mysql: str, reference: str, folder: Path) -> Iterator[Fleet]:
    """Start ours over the reference's database. mysql: host:port."""
    host, _, port = mysql.partition(":")
    store = {"Driver": "mysql", "Host": host, "Port": int(port), "User": "root", "Password": "", "Db": "dtm"}
    state: dict[str, Any] = {"open": False, "calls": []}

    class Branch(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
            state["calls"].append(f"{query['op']} {self.headers.get('user-agent')}")
            self.send_response(200 if state["open"] else 425)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Branch)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    coordinator = CoordinatorProcess(folder / "ours", store=store, settings={"TransCronInterval": 1})
    try:
        with contextlib.closing(coordinator):
            branch = f"http://127.0.0.1:{server.server_port}/"
            yield Fleet(coordinator.start(), reference, branch, state)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ours_is_gone_and_the_reference_finishes(fleet: Fleet) -> None:
    gid = fleet.submit(fleet.ours.http_url)
    fleet.ours.kill()
    before = len(fleet.state["calls"])
    assert fleet.until_final(fleet.reference, gid) == "succeed"
    assert "go-resty" in fleet.state["calls"][before], fleet.state["calls"]


def the_reference_began_and_ours_finishes(fleet: Fleet) -> None:
    finished: list[str] = []
    # Both look for what is due; ours, which looks more often, is the one sooner or later.
    for _ in range(5):
        fleet.state["open"] = False
        gid = fleet.submit(fleet.reference)
        assert fleet.until_final(fleet.ours.http_url, gid) == "succeed"
        finished.append(fleet.state["calls"][-1])
        if "go-resty" not in finished[-1]:
            return
    raise AssertionError(f"the reference was faster each time: {finished}")


def a_step_that_keeps_its_result_is_left_to_ours(fleet: Fleet) -> None:
    gid = fleet.submit(fleet.ours.http_url, keep_result=True)
    fleet.ours.kill()
    before = list(fleet.state["calls"])
    fleet.until_backed_off(fleet.reference, gid)
    assert fleet.state["calls"] == before, "the reference has called a url of ours"
    fleet.ours.start()
    assert fleet.until_final(fleet.ours.http_url, gid) == "succeed"
    assert "go-resty" not in fleet.state["calls"][-1], fleet.state["calls"]


def a_function_is_left_to_the_program_that_has_it(fleet: Fleet) -> None:
    store = fleet.ours.configuration["Store"]
    url = f"mysql://root@{store['Host']}:{store['Port']}/{store['Db']}"
    calls: list[str] = []
    fleet.ours.kill()

    async def pay(call: LocalCall) -> None:
        calls.append(call.op)
        if len(calls) == 1:
            raise Ongoing("not yet")

    async def begin() -> str:
        async with Coordinator.embedded(url, [pay]) as inside:
            begun = inside.client.saga(wait_result=True).add("local://pay", "local://pay")
            with contextlib.suppress(Ongoing):
                await begun.submit()
            return begun.gid

    async def end(gid: str) -> Status:
        async with Coordinator.embedded(url, [pay], settings={"TransCronInterval": 1}) as inside:
            async with asyncio.timeout(FINAL_SECONDS):
                while True:  # the reference may be the one who takes it up
                    await inside.client.retry(gid)
                    with contextlib.suppress(Ongoing):
                        return (await inside.client.wait(gid, timeout=3)).status

    gid = asyncio.run(begin())
    fleet.until_backed_off(fleet.reference, gid)
    assert asyncio.run(end(gid)) is Status.SUCCEED
    assert calls == ["action", "action"]


SCENARIOS = (
    ours_is_gone_and_the_reference_finishes,
    the_reference_began_and_ours_finishes,
    a_step_that_keeps_its_result_is_left_to_ours,
    a_function_is_left_to_the_program_that_has_it,
)
