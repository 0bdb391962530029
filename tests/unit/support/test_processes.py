"""A child process: ready, output, ends."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ports import FIRST_PORT, LAST_PORT, free_port, is_listening
from tests.support.processes import Process, ProcessFailed
from tests.support.under_test import ROOT

LISTENS = """
import http.server, sys
print("about to listen", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.BaseHTTPRequestHandler).serve_forever()
"""
TAKES_PORTS = """
import sys
from tests.support.ports import free_port
print(*[free_port() for _ in range(int(sys.argv[1]))], flush=True)
input()
"""


def python(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", program, *arguments]


def test_a_started_process_is_ready_and_can_be_killed_and_started_again():
    port = free_port()
    process = Process(python(LISTENS, str(port)), ready=lambda: is_listening(port))
    with process:
        first = process.pid
        assert is_listening(port)
        process.kill()
        assert not process.is_running
        assert not is_listening(port)
        process.start()
        assert process.pid != first
        assert process.output().count("about to listen") == 2
    assert not is_listening(port)
    process.close()


def test_one_that_ends_early_is_reported_with_what_it_printed():
    process = Process(python("print('no such file'); raise SystemExit(3)"), ready=lambda: False)
    with pytest.raises(ProcessFailed, match=r"(?s)code 3 .*no such file"):
        process.start()
    process.close()


def test_one_that_is_never_ready_is_killed():
    process = Process(
        python("import signal; print('waiting', flush=True); signal.pause()"),
        ready=lambda: False,
        start_seconds=0.3,
    )
    with pytest.raises(ProcessFailed, match="not ready"):
        process.start()
    assert not process.is_running
    process.close()


def test_one_that_ignores_sigterm_is_killed_and_reported(tmp_path: Path):
    ready = tmp_path / "ready"
    program = f"""
import pathlib, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({str(ready)!r}).touch()
while True: signal.pause()
"""
    process = Process(python(program), ready=ready.exists, stop_seconds=0.3).start()
    with pytest.raises(ProcessFailed, match="SIGTERM"):
        process.stop()
    assert not process.is_running
    process.close()


def test_a_paused_one_can_be_stopped():
    port = free_port()
    process = Process(python(LISTENS, str(port)), ready=lambda: is_listening(port)).start()
    process.send_signal(signal.SIGSTOP)
    assert process.stop() == -signal.SIGTERM
    process.close()


def test_free_ports_differ_and_lie_below_the_ephemeral_range():
    ports = {free_port() for _ in range(50)}
    assert len(ports) == 50
    assert min(ports) >= FIRST_PORT
    assert max(ports) <= LAST_PORT


def test_a_port_that_one_process_has_is_given_to_no_other():
    """Not while nobody listens there either: a server may be about to start, or to start again."""
    command = python(TAKES_PORTS, "150")
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        theirs = {int(port) for port in other.stdout.readline().split()}
        ours = {free_port() for _ in range(250)}
        other.communicate(b"\n")
    assert len(theirs) == 150
    assert not theirs & ours
