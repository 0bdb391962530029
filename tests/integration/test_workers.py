"""One coordinator of several processes, for real: over one MariaDB, with real signals."""

import asyncio
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.branch_server import branch_server
from tests.support.ports import is_listening
from tests.support.processes import children_of, is_alive
from tests.support.servers import Database
from tests.support.under_test import CoordinatorProcess

COUNT = 2
SOON = 60.0  # seconds
START_SECONDS = 270.0  # three programs start, on a machine that does other things too


def until(is_so: Callable[[], bool], seconds: float = SOON) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


@pytest.fixture
def coordinator(tmp_path: Path, mariadb_database: Database) -> Iterator[CoordinatorProcess]:
    process = CoordinatorProcess(
        tmp_path / "coordinator",
        store=mariadb_database,
        settings={
            "Workers": COUNT,
            "InstanceName": "one",
            "Log": {"Outputs": str(tmp_path / "dtm.log")},
            "ConfigUpdateInterval": 3600,
        },
    )
    process.launch()
    try:
        until(lambda: _is_ready(process), START_SECONDS)
        assert len(children_of(process.pid)) == COUNT
        yield process
    finally:
        print(process.output())
        process.close()


def said_at_its_end(process: CoordinatorProcess) -> str:
    process.launch()
    try:
        until(lambda: not process.is_running, START_SECONDS)
        return process.output()
    finally:
        process.close()


def counted(process: CoordinatorProcess) -> float:
    with urllib.request.urlopen(f"{process.http_url}/api/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith('dtm_transaction_process_total{model="saga",status="ok"}'):
                return float(line.rpartition(" ")[2])
    return 0.0


def saga(gid: str, url: str) -> dict[str, object]:
    return {
        "gid": gid,
        "trans_type": "saga",
        "protocol": "http",
        "wait_result": True,
        "steps": [{"action": url, "compensate": url}],
        "payloads": ["{}"],
    }


async def test_they_are_one_coordinator_whoever_of_them_dies(
    coordinator: CoordinatorProcess, tmp_path: Path
) -> None:
    ask = asyncio.to_thread
    async with branch_server() as branches:
        url = branches.url("http", "ok")
        for number in range(30):  # each on a connection of its own, so that they spread
            assert (await ask(coordinator.post, "submit", saga(f"gid-{number}", url)))[0] == 200
        assert await ask(counted, coordinator) == 30
        nodes = {row["name"] for row in await ask(_nodes, coordinator)}
        assert nodes == {"one.1", "one.2"}
        # What one of them was told of a topic, all of them know.
        for number in range(6):
            query = f"subscribe?topic=t{number}&url={url}&remark=r"
            assert (await ask(coordinator.get, query))["dtm_result"] == "SUCCESS"
            message = {
                "gid": f"msg-{number}",
                "trans_type": "msg",
                "protocol": "http",
                "steps": [{"action": f"topic://t{number}"}],
                "payloads": ["{}"],
            }
            assert (await ask(coordinator.post, "submit", message))[0] == 200
            second = f"subscribe?topic=t{number}&url={branches.url('http', 'fine')}&remark=r"
            await ask(coordinator.get, second)
            branches.asked.clear()
            again = {**message, "gid": f"again-{number}", "wait_result": True}
            assert (await ask(coordinator.post, "submit", again))[0] == 200
            assert len([it for it in branches.asked if it.gid == f"again-{number}"]) == 2
    await ask(_start_another_there, coordinator, tmp_path / "other")
    await _kill_one_under_load(coordinator)
    lines = [json.loads(line) for line in (tmp_path / "dtm.log").read_text().splitlines()]
    assert any("of this coordinator ended with -9" in line["msg"] for line in lines)


def _nodes(process: CoordinatorProcess) -> list[dict[str, str]]:
    with urllib.request.urlopen(f"{process.http_url}/api/operate/nodes", timeout=10) as answer:
        found: list[dict[str, str]] = json.load(answer)["nodes"]
        return found


def _start_another_there(coordinator: CoordinatorProcess, folder: Path) -> None:
    other = CoordinatorProcess(
        folder,
        store=coordinator.configuration["Store"],
        settings={"Workers": 2, "HttpPort": coordinator.http_port},
    )
    said = said_at_its_end(other)
    assert f"HTTP cannot listen on 127.0.0.1:{coordinator.http_port}: the port is in use" in said


async def _kill_one_under_load(coordinator: CoordinatorProcess) -> None:
    ask = asyncio.to_thread
    victims = children_of(coordinator.pid)
    async with branch_server() as branches:
        accepted: list[str] = []
        stop = asyncio.Event()

        async def submit() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                body = saga(f"during-{number}", branches.url("http", "ok")) | {"wait_result": False}
                try:
                    status, _ = await ask(coordinator.post, "submit", body)
                except (OSError, ValueError):  # its connection was the dead one's: to be asked again
                    continue
                if status == 200:
                    accepted.append(f"during-{number}")

        submitting = asyncio.create_task(submit())
        for victim in victims[1:]:
            before = len(accepted)
            os.kill(victim, signal.SIGKILL)
            await ask(until, lambda victim=victim: not is_alive(victim))
            await ask(until, lambda before=before: len(accepted) > before)
        await ask(until, lambda: len(children_of(coordinator.pid)) == COUNT)
        stop.set()
        await submitting
        await ask(until, lambda: _is_ready(coordinator))
        await ask(until, lambda: all(_status(coordinator, gid) == "succeed" for gid in accepted), 60.0)


def _is_ready(process: CoordinatorProcess) -> bool:
    try:
        with urllib.request.urlopen(f"{process.http_url}/api/ready", timeout=10) as answer:
            return bool(json.load(answer)["ready"])
    except (OSError, urllib.error.URLError):
        return False


def _status(process: CoordinatorProcess, gid: str) -> str:
    return str(process.query(gid)["transaction"]["status"])


async def test_nobody_is_left_when_the_one_before_them_is_killed(coordinator: CoordinatorProcess) -> None:
    children = children_of(coordinator.pid)
    os.kill(coordinator.pid, signal.SIGKILL)
    await asyncio.to_thread(until, lambda: not any(map(is_alive, children)))
    assert not is_listening(coordinator.http_port)


async def test_a_rolling_restart_answers_all_the_time_and_a_stop_ends_all(
    coordinator: CoordinatorProcess,
) -> None:
    ask = asyncio.to_thread
    old = set(children_of(coordinator.pid))
    async with branch_server() as branches:
        os.kill(coordinator.pid, signal.SIGHUP)
        number = answered = 0
        deadline = time.monotonic() + 60
        while old & set(children_of(coordinator.pid)) or len(children_of(coordinator.pid)) < COUNT:
            assert time.monotonic() < deadline
            number += 1
            try:
                status, said = await ask(
                    coordinator.post, "submit", saga(f"roll-{number}", branches.url("http", "ok"))
                )
            except (OSError, ValueError):  # a connection that was being closed: retryable
                continue
            assert status in {200, 503, 425}, said
            answered += status == 200
        assert answered > 0
    children = children_of(coordinator.pid)
    await asyncio.to_thread(coordinator.stop)
    assert not any(map(is_alive, children))
    assert "Traceback" not in coordinator.output()


def test_several_processes_on_one_sqlite_file_are_refused(tmp_path: Path) -> None:
    process = CoordinatorProcess(tmp_path / "lite", arguments=("--workers", "2"))
    assert "one process alone may write a SQLite file" in said_at_its_end(process)
