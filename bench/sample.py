"""One measurement: what the load generator saw, and what the processes used meanwhile."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_USER_TIME_FIELD = 11  # of /proc/<pid>/stat, counted behind the program's name; system time follows


class BenchError(Exception):
    """The measurement cannot be made, or would say nothing; the text says why."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a load generator saw."""

    sagas: int
    seconds: float
    errors: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One run against one server. CPU: microseconds a saga."""

    load: Load
    server_cpu: float
    database_cpu: float

    @property
    def rate(self) -> float:
        """Sagas a second."""
        return self.load.sagas / self.load.seconds


def cpu_seconds(pid: int) -> float:
    """What the process has used so far, all its threads, user and system time."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[_USER_TIME_FIELD : _USER_TIME_FIELD + 2])) / _TICKS_PER_SECOND


def machine_busy(seconds: float) -> float:
    """Which share of all cores somebody uses during the next seconds: 0 to 1. Blocks."""
    total, idle = _machine_ticks()
    time.sleep(seconds)
    total_then, idle_then = _machine_ticks()
    return 1 - (idle_then - idle) / max(1, total_then - total)


def _machine_ticks() -> tuple[int, int]:
    """Of all cores since the start of the machine: all time, and time without work."""
    ticks = [
        int(word) for word in Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:9]
    ]
    return sum(ticks), ticks[3] + ticks[4]  # idle, and waiting for a disk


def line(name: str, sample: Sample) -> str:
    """The sample for people; aligned with HEADING."""
    load = sample.load
    return (
        f"{name:<12} {sample.rate:>8.0f} {load.p50_ms:>8.1f} {load.p99_ms:>8.1f}"
        f" {sample.server_cpu:>10.0f} {sample.database_cpu:>12.0f}"
    )


HEADING = f"{'':<12} {'sagas/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'server µs':>10} {'database µs':>12}"


def middle(samples: Sequence[Sample]) -> Sample:
    """The median of every figure."""
    seconds = median([sample.load.seconds for sample in samples])
    return Sample(
        Load(
            sagas=round(median([sample.rate for sample in samples]) * seconds),
            seconds=seconds,
            errors=0,
            p50_ms=median([sample.load.p50_ms for sample in samples]),
            p99_ms=median([sample.load.p99_ms for sample in samples]),
        ),
        median([sample.server_cpu for sample in samples]),
        median([sample.database_cpu for sample in samples]),
    )


def ratio(ours: Sequence[Sample], others: Sequence[Sample]) -> float:
    """Our rate over the other's: the median over neighbouring runs, which had the same machine."""
    return median([one.rate / other.rate for one, other in zip(ours, others, strict=True)])


def cpu_ratio(ours: Sequence[Sample], others: Sequence[Sample]) -> float:
    """Our server's processor time a saga over the other's, in the same way."""
    return median([one.server_cpu / other.server_cpu for one, other in zip(ours, others, strict=True)])
