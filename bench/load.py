"""The load: two-step sagas with wait_result, a fixed number at a time, each answered before the next."""

import json
import subprocess
import sys
from pathlib import Path

from bench.sample import BenchError, Load
from tests.support import programs

_FOLDER = Path(__file__).parent
_GRACE_SECONDS = 20  # for a load generator to start and to end


def require_wrk() -> None:
    """Raise MissingProgram, which says what to install, unless wrk is there."""
    programs.require(programs.WRK)


def http_load(target: str, branch: str, run: str, *, at_a_time: int, seconds: int) -> Load:
    """Drive the server at `target` (host:port) with wrk. run: makes the gids unique."""
    output = _run(
        [
            *(programs.find("wrk") or "wrk", "--threads=1", f"--connections={at_a_time}"),
            *(f"--duration={seconds}s", "--latency", f"--script={_FOLDER / 'saga.lua'}", f"http://{target}"),
            *("--", f"http://{branch}", run),
        ],
        seconds,
    )
    for text in output.splitlines():
        if text.startswith("saga-result "):
            sagas, duration, errors, p50, p99 = map(int, text.split()[1:])
            return Load(sagas - errors, duration / 1e6, errors, p50 / 1e3, p99 / 1e3)
    raise BenchError(f"wrk printed no result:\n{output}")


def grpc_load(target: str, branch: str, run: str, *, at_a_time: int, seconds: int) -> Load:
    """Drive the server at `target` (host:port) with a gRPC client in a process of its own."""
    output = _run(
        [sys.executable, "-m", "bench.grpc_client", target, branch, run, str(at_a_time), str(seconds)],
        seconds,
    )
    return Load(**json.loads(output.splitlines()[-1]))


def _run(command: list[str], seconds: int) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + _GRACE_SECONDS,
            cwd=_FOLDER.parent,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{command[0]} did not end") from error
    if done.returncode != 0:
        raise BenchError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
