"""One bad service, or many: the others' transactions go on as if it were not there (PROTOCOL §9).

`PRESSURE=full` runs the sizes for which the figures are promised; else smaller ones of the same shape, with
bounds that a slow machine keeps and the fault does not: then the others were not done after a minute.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.chaos.pressure_service import ADDRESSES
from tests.conftest import StartCoordinator
from tests.support import programs
from tests.support.children import child
from tests.support.ports import free_port, is_listening
from tests.support.processes import Process
from tests.support.servers import Database

FULL = os.environ.get("PRESSURE") == "full"
CRON_INTERVAL = 3  # seconds, TransCronInterval's default
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[[int, str], str]]:
    """Return the url of a path at the n-th service; all of them run in one process."""
    port = free_port()
    process = Process(
        [sys.executable, "-m", "tests.chaos.pressure_service", str(port)],
        name="services",
        environment={**os.environ, "PYTHONPATH": str(ROOT)},
        folder=tmp_path,
        ready=lambda: is_listening(port, ADDRESSES[-1]),
    ).start()
    try:
        yield lambda number, path: f"http://{ADDRESSES[number]}:{port}{path}"
    finally:
        process.close()


def put_due(
    database: Database, rows: list[tuple[str, str]], *, options: str = '{"concurrent":false}'
) -> None:
    """Store submitted messages of one step that are due now. rows: gid and url."""
    columns = "gid, trans_type, status, query_prepared, protocol, options, custom_data, next_cron_interval"
    for start in range(0, len(rows), 500):
        some = rows[start : start + 500]
        stored = ", ".join(
            f"('{gid}', 'msg', 'submitted', '', 'http', '{options}', '', 10, now(), now(), now(), '', '', '')"
            for gid, _ in some
        )
        branches = ", ".join(
            f"('{gid}', '{url}', '{{}}', '01', 'action', 'prepared', now(), now())" for gid, url in some
        )
        database.execute(
            f"INSERT INTO trans_global ({columns}, create_time, update_time, next_cron_time, owner, result,"
            f" rollback_reason) VALUES {stored};"
            "INSERT INTO trans_branch_op"
            f" (gid, url, bin_data, branch_id, op, status, create_time, update_time) VALUES {branches}"
        )


async def seconds_until_done(database: Database, like: str, count: int, *, within: float) -> float:
    """Wait until so many transactions have succeeded; returns the seconds that took."""
    began = time.monotonic()
    query = f"SELECT count(*) FROM trans_global WHERE gid LIKE '{like}' AND status = 'succeed'"
    while (done := (await asyncio.to_thread(database.execute, query))[0][0]) != count:
        assert time.monotonic() - began < within, f"{done} of {count} after {within} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


@pytest.mark.timeout(180)
async def test_services_that_hang_hold_up_nobody_else_also_after_a_start(
    start_coordinator: StartCoordinator,
    mariadb_database: Database,
    service: Callable[[int, str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    hanging, each = (20, 1000) if FULL else (10, 300)
    coordinator = start_coordinator(store=mariadb_database, settings={"LogLevel": "error"})
    coordinator.kill()  # the tables are there
    slow = '{"request_timeout":20,"concurrent":false}'
    stuck = [(f"hang-{n}-{m}", service(n, "/hang")) for m in range(each) for n in range(hanging)]
    put_due(mariadb_database, stuck, options=slow)
    put_due(mariadb_database, [(f"ok-{n}-{m}", service(20 + n, "/ok")) for m in range(5) for n in range(20)])
    coordinator.start()
    try:
        first = await seconds_until_done(mariadb_database, "ok-%", 100, within=60)
        later = []
        for round in range(5):
            await asyncio.sleep(4)
            put_due(mariadb_database, [(f"later{round}-{n}", service(20 + n, "/ok")) for n in range(20)])
            later.append(await seconds_until_done(mariadb_database, f"later{round}-%", 20, within=60))
    finally:
        coordinator.kill()
    with capsys.disabled():
        print(
            f"\n  {hanging} services hang with {each} due each: the others' took {first:.1f} s"
            f" after the start, then {max(later):.1f} s"
        )
    bound = CRON_INTERVAL + 2 if FULL else 30
    assert first <= bound
    assert max(later) <= bound


@pytest.mark.timeout(120)
async def test_what_is_due_at_one_healthy_service_keeps_its_places_busy(
    start_coordinator: StartCoordinator,
    mariadb_database: Database,
    service: Callable[[int, str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    count, places = (3000, 256) if FULL else (600, 64)
    coordinator = start_coordinator(
        store=mariadb_database, settings={"EndpointConcurrencyMax": places, "LogLevel": "info"}
    )
    put_due(mariadb_database, [(f"slow-{n}", service(0, "/slow/1")) for n in range(count)])
    seconds = await seconds_until_done(mariadb_database, "slow-%", count, within=60)
    at_best = count / places
    with capsys.disabled():
        print(
            f"\n  {count} due at a service of {places} places and 1 s: {seconds:.1f} s, {at_best:.1f} at best"
        )
    assert seconds <= (at_best / 0.9 + CRON_INTERVAL if FULL else 45)
    intervals = mariadb_database.execute("SELECT DISTINCT next_cron_interval FROM trans_global")
    assert intervals == ((10,),) or list(intervals) == [(10,)]
    assert "failed" not in coordinator.output()
    async with aiohttp.ClientSession() as session, session.get(service(0, "/calls")) as answer:
        calls = await answer.json()
    assert set(calls.values()) == {1}


@pytest.mark.timeout(120)
async def test_submits_to_a_service_that_hangs_refuse_nobody(
    start_coordinator: StartCoordinator,
    mariadb_database: Database,
    service: Callable[[int, str], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seconds, rate = (30, 1500) if FULL else (6, 500)
    coordinator = start_coordinator(store=mariadb_database, settings={"LogLevel": "error"})
    healthy = service(20, "/ok")
    async with aiohttp.ClientSession() as session:
        for number in range(100):  # warm
            await _submit(session, coordinator.api_url, f"warm-{number}", healthy)
        alone = await _asked_for(session, coordinator.api_url, "alone", healthy, seconds / 2)
        command = _load(tmp_path, coordinator.http_url, service(0, "/hang"), rate, seconds)
        async with child(*command) as load:
            beside = await _asked_for(session, coordinator.api_url, "beside", healthy, seconds - 1)
            report = (await load.communicate())[0].decode()
    resident = _resident_megabytes(coordinator.pid)
    coordinator.kill()
    with capsys.disabled():
        print(
            f"\n  p99 {_p99(alone) * 1000:.0f} ms alone, {_p99(beside) * 1000:.0f} ms beside submits to a"
            f" service that hangs; {resident} MB; {report.strip().splitlines()[-1]}"
        )
    assert "Non-2xx" not in report
    assert _p99(beside) <= (3 * _p99(alone) if FULL else 5.0)


async def _submit(session: aiohttp.ClientSession, api_url: str, gid: str, url: str) -> None:
    body = {
        "gid": gid,
        "trans_type": "saga",
        "wait_result": True,
        "steps": [{"action": url, "compensate": url}] * 2,
        "payloads": ["{}", "{}"],
    }
    async with session.post(f"{api_url}/submit", json=body) as answer:
        assert answer.status == 200, await answer.text()


async def _asked_for(
    session: aiohttp.ClientSession, api_url: str, name: str, url: str, seconds: float
) -> list[float]:
    """Submit healthy sagas, some 50 a second, and return how long each took."""
    took: list[float] = []

    async def one(number: int) -> None:
        began = time.monotonic()
        await _submit(session, api_url, f"{name}-{number}", url)
        took.append(time.monotonic() - began)

    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * 50)):
            group.create_task(one(number))
            await asyncio.sleep(0.02)
    return took


def _resident_megabytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) // 1024


def _p99(took: list[float]) -> float:
    return sorted(took)[int(len(took) * 0.99)]


def _load(folder: Path, http_url: str, url: str, rate: int, seconds: int) -> tuple[str, ...]:
    connections, answered = 128, 5  # ms, about: a client asks again after its answer, at a time that is drawn
    script = folder / "load.lua"
    script.write_text(
        f"""
        local number = 0
        function delay() return math.random(0, {2 * (1000 * connections // rate - answered)}) end
        function request()
          number = number + 1
          local body = string.format('{{"gid":"load-%d","trans_type":"saga","steps":[' ..
            '{{"action":"{url}","compensate":"{url}"}}],"payloads":["{{}}"]}}', number)
          return wrk.format("POST", "/api/dtmsvr/submit", nil, body)
        end
        """,
        encoding="utf-8",
    )
    programs.require(programs.WRK)
    return ("wrk", "-t1", f"-c{connections}", f"-d{seconds}", "-s", str(script), http_url)
