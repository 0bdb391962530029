"""The machine that the measurement runs on: what its processes used, how busy it is, what it is made of."""

import contextlib
import os
import platform
import re
import subprocess
import time
from pathlib import Path

from tests.support import programs

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_TIMES = slice(
    11, 15
)  # of /proc/<pid>/stat behind the program's name: user, system, and the same of ended children


def cpu_seconds(pid: int) -> float:
    """What the process and everything below it have used so far, all threads, user and system time.

    What a child that has ended used counts once the process has waited for it. Raises OSError.
    """
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    seconds = sum(map(int, fields[_TIMES])) / _TICKS_PER_SECOND
    for child in children(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended since it was listed
            seconds += cpu_seconds(child)
    return seconds


def children(pid: int) -> list[int]:
    """The processes that it has started and that run."""
    return [
        int(child)
        for listed in Path(f"/proc/{pid}/task").glob("*/children")
        for child in listed.read_text(encoding="ascii").split()
    ]


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


def described() -> dict[str, str]:
    """What the machine is made of and what is installed on it, for people."""
    model = re.search(r"^model name\s*: (.+)$", _text("/proc/cpuinfo"), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _text("/proc/meminfo"), re.MULTILINE)
    return {
        "processor": f"{os.cpu_count()} cores, {model[1] if model else platform.machine()}",
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "not known",
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "Python": platform.python_version(),
        "MariaDB": version("mariadbd", "--version"),
        "PostgreSQL": version("postgres", "--version"),
        "wrk": version("wrk", "-v"),
        "nginx": version("nginx", "-v"),
    }


def version(program: str, flag: str) -> str:
    """The version number that a program prints, whatever stands around it."""
    path = programs.find(program)
    if path is None:
        return "not installed"
    done = subprocess.run([path, flag], capture_output=True, text=True, check=False)
    number = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return number[0] if number else "not known"


def commit_of(checkout: Path) -> str:
    """The commit that a checkout stands at, with `-dirty` behind it when files differ from it."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "no commit"


def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")
