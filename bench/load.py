"""The load: one transaction after the other, a fixed number at a time, each answered before the next."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.grpc_client import TOKEN
from bench.sample import BenchError, Load
from bench.transactions import GID, http_calls
from tests.support import programs

_FOLDER = Path(__file__).parent
_GRACE_SECONDS = 30  # for a load generator to start and to end
_ANSWER_SECONDS = 10  # an answer that takes longer is an error


def require_wrk() -> None:
    """Raise MissingProgram, which says what to install, unless wrk is there."""
    programs.require(programs.WRK)


def http_load(
    target: str, branch: str, run: str, *, pattern: str, at_a_time: int, seconds: int, token: str = ""
) -> Load:
    """Drive the server at `target` (host:port) with wrk. run: makes the gids unique. token: sent along."""
    calls = http_calls(pattern, f"http://{branch}")
    threads = 1 if len(calls) == 1 else at_a_time  # see calls.lua
    output = _run(
        [
            *(programs.find("wrk") or "wrk", f"--threads={threads}", f"--connections={at_a_time}"),
            *(f"--duration={seconds}s", f"--timeout={_ANSWER_SECONDS}s", "--latency"),
            *(("--header", f"Authorization: Bearer {token}") if token else ()),
            *(f"--script={_FOLDER / 'calls.lua'}", f"http://{target}", "--", run, GID),
            *(word for call in calls for word in (call.path, call.body.decode())),
        ],
        seconds,
    )
    for text in output.splitlines():
        if text.startswith("result "):
            transactions, duration, errors, p50, p99 = map(int, text.split()[1:])
            return Load(transactions, duration / 1e6, errors, p50 / 1e3, p99 / 1e3)
    raise BenchError(f"wrk printed no result:\n{output}")


def grpc_load(
    target: str, branch: str, run: str, *, pattern: str, at_a_time: int, seconds: int, token: str = ""
) -> Load:
    """Drive the server at `target` (host:port) with a gRPC client in a process of its own; as http_load."""
    words = [target, branch, run, pattern, str(at_a_time), str(seconds)]
    output = _run([sys.executable, "-m", "bench.grpc_client", *words], seconds, {TOKEN: token})
    return Load(**json.loads(output.splitlines()[-1]))


def _run(command: list[str], seconds: int, environment: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + _GRACE_SECONDS,
            cwd=_FOLDER.parent,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{command[0]} did not end") from error
    if done.returncode != 0:
        raise BenchError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
