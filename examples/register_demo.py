"""One registration that succeeds and one that rolls back, with everything they need: `make demo`.

Starts a coordinator and the services user, score and api as processes of their own, on SQLite and free local
ports in a temporary folder. Shows what the coordinator recorded of each branch call, and the rows in both
business databases. Exits with 1 unless both registrations ended as they should. With KEEP=1 it goes on
running then, both registrations in its console, until it is interrupted.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from coordinator.client import BranchStatus, BranchView, Dtm, DtmError, Status, TransactionView

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 20
STOP_SECONDS = 10
POLL_SECONDS = 0.02
SCORE_LIMIT = 100
KEEP = bool(os.environ.get("KEEP"))


class DemoFailed(Exception):
    """Something did not go as it should; the message says what."""


# --- processes ---


class Service:
    """One child process, its output in a file. Ended by its own pid."""

    def __init__(self, name: str, folder: Path, *command: str) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        with self._log.open("wb") as output:
            self._child = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    async def wait_for(self, text: str) -> str:
        """Wait until it has printed a line with this text; return what stands behind it."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for line in self.output().splitlines():
                if text in line:
                    return line.partition(text)[2]
            if self._child.poll() is not None:
                raise DemoFailed(f"{self.name} ended with code {self._child.returncode}:\n{self.output()}")
            await asyncio.sleep(POLL_SECONDS)
        raise DemoFailed(f"{self.name} was not ready after {START_SECONDS} s:\n{self.output()}")

    async def address(self) -> str:
        """Wait until it listens; return its host:port."""
        return (await self.wait_for(" listens on ")).partition(",")[0].strip()

    def output(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def ask_to_stop(self) -> None:
        """SIGTERM, unless it has ended by itself."""
        if self._child.poll() is None:
            self._child.terminate()

    def wait_until_stopped(self) -> None:
        """Wait for the end; kill it when it takes too long."""
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


@dataclass
class Addresses:
    """Where everything runs."""

    coordinator_url: str
    api_url: str


class Fleet:
    """The four processes of the demo."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._services: list[Service] = []

    async def start(self) -> Addresses:
        """Start all of them; return when they answer."""
        http_port, grpc_port = free_ports(2)
        store = {"Driver": "sqlite", "Path": str(self._folder / "dtm.db")}
        self._write("dtm", {"Host": HOST, "HttpPort": http_port, "GrpcPort": grpc_port, "Store": store})
        self._write("user", self._rpc("user.rpc", "user.db"))
        self._write("score", {**self._rpc("score.rpc", "score.db"), "ScoreLimit": SCORE_LIMIT})
        coordinator = self._launch("coordinator", "coordinator", "-c", "dtm.yaml")
        user = self._launch("user", "branches.user", "-f", "user.yaml")
        score = self._launch("score", "branches.score", "-f", "score.yaml")
        api_settings = {
            "Name": "register.api",
            "Host": HOST,
            "Port": 0,
            "DtmServer": f"{HOST}:{grpc_port}",
            "UserRpc": {"Endpoints": [await user.address()]},
            "ScoreRpc": {"Endpoints": [await score.address()]},
        }
        self._write("api", api_settings)
        api = self._launch("api", "branches.api", "-f", "api.yaml")
        api_address = await api.address()
        await coordinator.wait_for("is ready")
        return Addresses(coordinator_url=f"http://{HOST}:{http_port}", api_url=f"http://{api_address}")

    def stop(self) -> None:
        """Stop all of them, whatever happened before."""
        for service in self._services:
            service.ask_to_stop()
        for service in self._services:
            service.wait_until_stopped()

    def _launch(self, name: str, *command: str) -> Service:
        service = Service(name, self._folder, *command)
        self._services.append(service)
        return service

    def _write(self, name: str, settings: dict[str, Any]) -> None:
        (self._folder / f"{name}.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")

    def _rpc(self, name: str, file: str) -> dict[str, Any]:
        return {"Name": name, "ListenOn": f"{HOST}:0", "DataSource": f"sqlite:///{self._folder / file}"}


def free_ports(count: int) -> list[int]:
    """Ports that nobody listened on a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


# --- what is shown ---

GREEN, RED, DIM, BOLD = "32", "31", "2", "1"
STATUS_COLOURS = {"succeed": GREEN, "failed": RED, "not called": DIM, "200": GREEN, "409": RED}


def paint(text: str, colour: str | None) -> str:
    """Colour on a terminal, plain text everywhere else."""
    if colour is None or not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return f"\033[{colour}m{text}\033[0m"


def show_timeline(transaction: TransactionView) -> None:
    """Print what the coordinator's query call says of one saga, in the order of the calls."""
    ending = "rolled back" if transaction.status is Status.FAILED else "done"
    status = paint(transaction.status, STATUS_COLOURS.get(transaction.status))
    print(f"\n   saga {transaction.gid}: {status}, {ending}\n")
    print(paint("   time      step  operation   result      called", DIM))
    print(f"   {clock(transaction.create_time)}  --    submitted")
    for branch in in_order_of_calls(transaction.branches):
        result = "not called" if branch.status is BranchStatus.PREPARED else str(branch.status)
        painted = paint(f"{result:<10}", STATUS_COLOURS.get(result))
        method = branch.url.partition("/")[2]
        print(f"   {clock(branch.finish_time)}  {branch.branch_id}    {branch.op:<10}  {painted}  {method}")
    print(f"   {clock(transaction.finish_time or transaction.rollback_time)}  --    {transaction.status}")
    if transaction.rollback_reason:
        print(f"   because {transaction.rollback_reason}")


def in_order_of_calls(branches: tuple[BranchView, ...]) -> Iterator[BranchView]:
    """Actions first to last, then compensations last to first."""
    yield from (branch for branch in branches if branch.op == "action")
    yield from reversed([branch for branch in branches if branch.op == "compensate"])


def clock(moment: Any) -> str:
    """HH:MM:SS in local time, blank for what has not happened."""
    return moment.astimezone().strftime("%H:%M:%S") if moment else " " * 8


def show_rows(folder: Path, file: str, table: str) -> list[tuple[Any, ...]]:
    """Print and return the business rows of one service."""
    columns = "id, name, gender" if table == "user" else "user_id, score"
    with contextlib.closing(sqlite3.connect(folder / file)) as connection:
        rows = connection.execute(f"SELECT {columns} FROM {table}").fetchall()  # noqa: S608 - our own names
    print(f"   {table} ({columns})")
    for row in rows:
        print(f"     {'  '.join(map(str, row))}")
    if not rows:
        print("     no rows")
    return rows


# --- the demo itself ---


async def register(number: int, addresses: Addresses, body: dict[str, Any], expected: int) -> TransactionView:
    """Register one user, show it, and return the finished saga as the coordinator stored it."""
    async with (
        Dtm(addresses.coordinator_url) as dtm,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session,
        session.post(f"{addresses.api_url}/register", json=body) as response,
    ):
        answer = await response.json()
        status = paint(str(response.status), STATUS_COLOURS.get(str(response.status)))
        print(f"\n{paint(f'{number}. POST /register', BOLD)} {json.dumps(body)}")
        print(f"   {status} {json.dumps(answer)}")
        gid = response.headers.get("dtm-gid", "")
        transaction = await dtm.query(gid) if gid else None
        if transaction is None:
            raise DemoFailed(f"the coordinator does not know the transaction {gid!r}")
        show_timeline(transaction)
        if response.status != expected:
            raise DemoFailed(f"expected the answer {expected}, got {response.status}")
        return transaction


async def demo(folder: Path, fleet: Fleet) -> Addresses:
    """Everything between start and stop; returns where it runs. Raises DemoFailed."""
    started = time.monotonic()
    print("Starting coordinator, user, score and api on SQLite and free local ports …")
    addresses = await fleet.start()
    print(
        f"Ready after {time.monotonic() - started:.1f} s: coordinator {addresses.coordinator_url}, ", end=""
    )
    print(f"api {addresses.api_url}")

    done = await register(1, addresses, {"name": "ann", "gender": "female"}, expected=200)
    undone = await register(
        2, addresses, {"name": "bob", "gender": "male", "score": 10 * SCORE_LIMIT}, expected=409
    )
    print(paint("\nRows in the business databases afterwards", BOLD))
    users = show_rows(folder, "user.db", "user")
    scores = show_rows(folder, "score.db", "user_score")

    check(done.status is Status.SUCCEED, f"the first saga is {done.status}, not succeed")
    check(undone.status is Status.FAILED, f"the second saga is {undone.status}, not failed")
    check([row[1] for row in users] == ["ann"], "user should hold ann and nobody else")
    check([row[0] for row in scores] == [row[0] for row in users], "user_score should hold the same user")
    return addresses


def check(right: bool, otherwise: str) -> None:
    """Raise DemoFailed unless it is right."""
    if not right:
        raise DemoFailed(otherwise)


def show_end(addresses: Addresses, seconds: float) -> None:
    """Say that all went well, and where to look on."""
    console = f"{addresses.coordinator_url}/"
    print(
        paint(
            f"\nBoth ended as they should: one registered, one left nothing behind ({seconds:.1f} s).", GREEN
        )
    )
    if KEEP:
        print(f"\nBoth are in the console, until Ctrl-C: {paint(console, BOLD)}", flush=True)
    else:
        print(f"\nTheir console was at {console}; to look at both in it: KEEP=1 make demo")


def main() -> int:
    """Run the demo, stop its processes, return the exit code."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dtm-demo-") as name:
        fleet = Fleet(Path(name))
        try:
            addresses = asyncio.run(demo(Path(name), fleet))
            show_end(addresses, time.monotonic() - started)
            if KEEP:
                signal.pause()
        except (DemoFailed, DtmError, aiohttp.ClientError, TimeoutError) as error:
            print(f"\n{paint('The demo failed:', RED)} {str(error) or repr(error)}", file=sys.stderr)
            return 1
        finally:
            fleet.stop()
    return 0


if __name__ == "__main__":
    # As an exception, so that a demo that is told to stop still stops what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
