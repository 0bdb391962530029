"""`--overload`, `--soak`, `--workers`: too much for a while, enough for long, and by more processes."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench.crowd import Crowd
from bench.machine import children
from bench.sample import BenchError
from bench.scene import Held, Scene, run_name, scene

Tell = Callable[[str], None]
Row = tuple[str, str]

_AT_A_TIME: Final = 64
_TIMES_REQUESTS, _TIMES_CONNECTIONS = 3, 10
_CAP: Final = 25  # percent of a core, of each worker
_WARM_SECONDS: Final = 2
_PERIOD_MICROS: Final = 100_000
_LATE_SECONDS: Final = 30
_SETTLED_SECONDS: Final = 30  # until all connections have been used
_MINUTE: Final = 60


def overload(seconds: int, tell: Tell) -> list[Row]:
    """Three times the requests that it can take, over ten times the connections."""
    with scene({"TimeZoneOffset": "+0"}) as it:
        it.load(at_a_time=_AT_A_TIME, seconds=_WARM_SECONDS)
        capacity = _crowd(it, _AT_A_TIME, 100_000, min(seconds, 10))
        taken = capacity.accepted / capacity.seconds
        tell(f"at capacity: {taken:,.0f} sagas a second, p99 {capacity.accepted_p99_ms:.0f} ms")
        early: list[Held] = []
        looking = threading.Timer(min(seconds / 2, _SETTLED_SECONDS), lambda: early.append(it.held()))
        looking.start()
        found = _crowd(it, _TIMES_CONNECTIONS * _AT_A_TIME, _TIMES_REQUESTS * taken, seconds)
        looking.join()
        before, after = early[0], it.held()
        until = time.monotonic() + _LATE_SECONDS
        while (left := it.unfinished()) and time.monotonic() < until:
            time.sleep(0.25)
    return [
        (f"at capacity, {_AT_A_TIME} at a time: sagas a second", f"{taken:,.0f}"),
        (
            "at capacity: median, p99",
            f"{capacity.accepted_p50_ms:.0f} ms, {capacity.accepted_p99_ms:.0f} ms",
        ),
        (
            f"asked {_TIMES_REQUESTS} times as much: taken a second",
            f"{found.accepted / found.seconds:,.0f}",
        ),
        ("refused a second", f"{found.refused / found.seconds:,.0f}"),
        ("neither", f"{found.failed:,}"),
        ("accepted: median, p99", f"{found.accepted_p50_ms:.0f} ms, {found.accepted_p99_ms:.0f} ms"),
        ("refused: p99 until the answer", f"{found.refused_p99_ms:.0f} ms"),
        ("longest Retry-After", f"{found.retry_after} s"),
        (
            f"resident memory after {looking.interval:.0f} s, at the end",
            f"{before.rss_mb:.0f} MB, {after.rss_mb:.0f} MB",
        ),
        (f"accepted and unfinished {_LATE_SECONDS} s later, at the most", f"{left:,}"),
    ]


def soak(minutes: int, tell: Tell) -> list[Row]:
    """At capacity for so many minutes: whether anything grows."""
    with scene({"TimeZoneOffset": "+0"}) as it:
        rates, held = [], []
        for minute in range(minutes):
            rates.append(it.load(at_a_time=_AT_A_TIME, seconds=_MINUTE).rate)
            held.append(it.held())
            tell(f"minute {minute + 1}: {rates[-1]:,.0f} sagas a second, {held[-1].rss_mb:.0f} MB")
    first, last = held[0], held[-1]
    return [
        ("sagas a second, first and last minute", f"{rates[0]:,.0f}, {rates[-1]:,.0f}"),
        ("resident memory after each of them", f"{first.rss_mb:.0f} MB, {last.rss_mb:.0f} MB"),
        ("open descriptors after each of them", f"{first.descriptors}, {last.descriptors}"),
    ]


def by_workers(count: int, seconds: int, tell: Tell) -> list[Row]:
    """The rate of 1, 2, 4 … up to so many processes, each with a quarter of a core where that can be.

    With as many clients for each as the one has, and with the same clients for all: each has fewer then.
    """
    rows, base = [], 0.0
    for workers in _doubled(count):
        with scene({"TimeZoneOffset": "+0"}, workers=workers) as it, capped(it) as how:
            for at_a_time in sorted({_AT_A_TIME, workers * _AT_A_TIME}):
                rate, cpu, of_database = _measured(it, at_a_time, seconds)
                base = base or rate
                name = f"{workers} workers, {how}, {at_a_time} at a time"
                tell(f"{name}: {rate:,.0f} sagas a second")
                figures = f"{rate:,.0f} a second, {rate / base:.2f} times one"
                rows.append((name, f"{figures}; {cpu:.0f} µs, database {of_database:.0f} µs"))
    return rows


def _measured(it: Scene, at_a_time: int, seconds: int) -> tuple[float, float, float]:
    """Sagas a second; processor time of each, of all processes and of the database, in µs."""
    it.load(at_a_time=at_a_time, seconds=_WARM_SECONDS)
    before, database = it.held().cpu, it.database_cpu()
    found = it.load(at_a_time=at_a_time, seconds=seconds)
    micros = 1e6 / found.transactions
    return found.rate, micros * (it.held().cpu - before), micros * (it.database_cpu() - database)


@contextmanager
def capped(it: Scene) -> Iterator[str]:
    """Give each process of the coordinator a quarter of a core; how, or that it could not be done."""
    pids = children(it.coordinator.pid) or [it.coordinator.pid]
    with ExitStack() as opened:
        try:
            for pid in pids:
                opened.enter_context(_in_group(pid))
            yield f"each capped at {_CAP} % of a core by its cgroup"
            return
        except OSError:
            opened.close()
        program = shutil.which("cpulimit")
        if program is None:
            yield "not capped: neither a cgroup nor cpulimit"
            return
        for pid in pids:
            limiter = subprocess.Popen([program, "-q", "-p", str(pid), "-l", str(_CAP)])
            opened.callback(limiter.wait)
            opened.callback(limiter.terminate)
        yield f"each capped at {_CAP} % of a core by cpulimit"


@contextmanager
def _in_group(pid: int) -> Iterator[None]:
    """A control group of version 2, or else 1. Raises OSError where none may be made."""
    root = Path("/sys/fs/cgroup")
    is_second = (root / "cgroup.controllers").exists()
    group = (root if is_second else root / "cpu") / f"dtm-bench-{pid}"
    home = (root if is_second else root / "cpu") / "cgroup.procs"
    group.mkdir()
    try:
        quota = _PERIOD_MICROS * _CAP // 100
        if is_second:
            (group / "cpu.max").write_text(f"{quota} {_PERIOD_MICROS}", encoding="ascii")
        else:
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD_MICROS), encoding="ascii")
            (group / "cpu.cfs_quota_us").write_text(str(quota), encoding="ascii")
        (group / "cgroup.procs").write_text(str(pid), encoding="ascii")
        yield
    finally:
        if Path(f"/proc/{pid}").exists():
            home.write_text(str(pid), encoding="ascii")
        group.rmdir()


def _doubled(count: int) -> list[int]:
    steps = [1]
    while steps[-1] * 2 < count:
        steps.append(steps[-1] * 2)
    return [*steps, count] if count > 1 else steps


def _crowd(it: Scene, connections: int, rate: float, seconds: int) -> Crowd:
    words = [it.target, it.branch, run_name(), str(connections), str(rate), str(seconds)]
    command = [sys.executable, "-m", "bench.crowd", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
    if done.returncode != 0:
        raise BenchError(f"the crowd failed:\n{done.stderr}")
    return Crowd(**json.loads(done.stdout))
