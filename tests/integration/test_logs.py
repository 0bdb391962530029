"""Lines of a running coordinator: outputs that fail stop no transaction, and what a line about one says."""

import asyncio
import json
import os
import subprocess
import time
from pathlib import Path
from typing import IO, Any

import aiohttp
import pytest

from coordinator.client import Dtm, Ongoing, Status
from tests.conftest import StartCoordinator
from tests.support.branch_server import branch_server
from tests.support.ports import HOST, answers, free_port
from tests.support.under_test import CoordinatorProcess

TRACE = "0af7651916cd43dd8448eb211c80319c"


async def saga_to(
    coordinator: CoordinatorProcess, url: str, gid: str, *, steps: int = 1, **headers: str
) -> Status:
    async with Dtm(coordinator.http_url) as dtm:
        saga = dtm.saga(gid, wait_result=True, concurrent=True, branch_headers=headers)
        for _ in range(steps):
            saga.add(url, url, {"a": 1})
        return (await saga.submit()).status


def whole_lines(file: Path) -> list[str]:
    return file.read_text().rpartition("\n")[0].splitlines()


async def lines(file: Path, gid: str) -> list[dict[str, Any]]:
    """The lines about it; they are written beside the answer, so the first is waited for."""
    async with asyncio.timeout(30):
        while True:
            if found := [line for line in map(json.loads, whole_lines(file)) if line.get("gid") == gid]:
                return found
            await asyncio.sleep(0.02)  # another process has no event for "written"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
async def test_a_full_disk_stops_no_transaction(start_coordinator: StartCoordinator, tmp_path: Path) -> None:
    file = tmp_path / "dtm.log"
    coordinator = start_coordinator(settings={"Log": {"Outputs": f"/dev/full,{file}"}})
    with pytest.raises(Ongoing):
        await saga_to(coordinator, f"http://{HOST}:{free_port()}", "nobody")
    async with branch_server() as branches:
        assert await saga_to(coordinator, branches.url("http", "ok"), "fine") is Status.SUCCEED
    [line] = await lines(file, "nobody")
    assert (line["level"], line["branch"], line["op"]) == ("warn", "01", "action")
    assert "cannot connect" in line["msg"]
    assert "Logging error" not in coordinator.output()


def answered(prepared: CoordinatorProcess) -> None:
    deadline = time.monotonic() + 30
    while not answers(f"{prepared.http_url}/api/ready"):
        assert time.monotonic() < deadline
        time.sleep(0.05)  # another process has no event for "ready"


def start_on(prepared: CoordinatorProcess, writing: int) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen(prepared._command, env=prepared._environment, stderr=writing)
    os.close(writing)
    return child


def start_on_a_pipe_that_closes(prepared: CoordinatorProcess) -> "subprocess.Popen[bytes]":
    reading, writing = os.pipe()
    child = start_on(prepared, writing)
    answered(prepared)
    os.close(reading)
    return child


async def test_a_closed_pipe_stops_no_transaction(tmp_path: Path) -> None:
    prepared = CoordinatorProcess(tmp_path)  # for its configuration file; started on a pipe of ours
    child = await asyncio.to_thread(start_on_a_pipe_that_closes, prepared)
    try:
        with pytest.raises(Ongoing):
            await saga_to(prepared, f"http://{HOST}:{free_port()}", "nobody")
        async with branch_server() as branches:
            assert await saga_to(prepared, branches.url("http", "ok"), "fine") is Status.SUCCEED
        assert child.poll() is None
    finally:
        child.terminate()
        assert child.wait(30) == 0
        prepared.close()


def read_until(pipe: IO[str], sentence: str) -> list[str]:
    """What comes up to and with the line that says so; without it, all that comes."""
    read = []
    for line in pipe:
        read.append(line)
        if sentence in line:
            break
    return read


async def test_a_pipe_that_nobody_reads_stops_no_transaction_and_what_was_lost_is_said(
    tmp_path: Path,
) -> None:
    prepared = CoordinatorProcess(tmp_path, settings={"LogLevel": "debug"})
    reading, writing = os.pipe()
    child = start_on(prepared, writing)
    nobody = f"http://{HOST}:{free_port()}/{'x' * 900}"
    try:
        await asyncio.to_thread(answered, prepared)
        async with branch_server() as branches:
            for number in range(100):  # each says a line about every step: more than pipe and queue hold
                async with asyncio.timeout(30):
                    with pytest.raises(Ongoing):
                        await saga_to(prepared, nobody, f"unread-{number}", steps=80)
                    fine = await saga_to(prepared, branches.url("http", "ok"), f"fine-{number}")
                assert fine is Status.SUCCEED
        with os.fdopen(reading, encoding="utf-8") as pipe:
            lines = await asyncio.to_thread(read_until, pipe, "lost: nobody reads this output")
            child.terminate()
            last = await asyncio.to_thread(read_until, pipe, "stopping")
            last += await asyncio.to_thread(pipe.readlines)
        assert await asyncio.to_thread(child.wait, 30) == 0
    finally:
        if child.poll() is None:
            child.kill()
            child.wait(30)
        prepared.close()
    assert any("unread-0" in line for line in lines)
    assert "lost: nobody reads this output, or too slowly" in json.loads(lines[-1])["msg"]
    assert any("stopping" in line for line in last)


async def test_no_line_shows_a_header_that_the_client_sends_to_its_branches(
    start_coordinator: StartCoordinator, tmp_path: Path
) -> None:
    file = tmp_path / "dtm.log"
    coordinator = start_coordinator(settings={"LogLevel": "debug", "Log": {"Outputs": f"stderr,{file}"}})
    with pytest.raises(Ongoing):
        await saga_to(
            coordinator, f"http://{HOST}:{free_port()}/x?token=s3cr3t-a", "secret", Authorization="s3cr3t-b"
        )
    assert await lines(file, "secret")
    assert "s3cr3t" not in file.read_text() + coordinator.output()


async def test_lines_about_a_traced_transaction_name_its_trace(
    start_coordinator: StartCoordinator, tmp_path: Path
) -> None:
    file = tmp_path / "dtm.log"
    telemetry = {"Endpoint": str(tmp_path / "spans"), "Batcher": "file"}
    coordinator = start_coordinator(settings={"Log": {"Outputs": str(file)}, "Telemetry": telemetry})
    body = {
        "gid": "traced",
        "trans_type": "saga",
        "wait_result": True,
        "steps": [{"action": f"http://{HOST}:{free_port()}", "compensate": ""}],
        "payloads": ["{}"],
    }
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{coordinator.api_url}/submit", json=body) as answer,
    ):
        assert answer.status == 409
    [line] = await lines(file, "traced")
    assert line["trace"] == TRACE
