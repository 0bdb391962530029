"""Coordinators forked from a Python that has imported one: imports are two thirds of what a start costs.

What runs is `python -m coordinator` with its arguments, folder and output, in a process of its own that can
be killed like any other. `python -m tests.support.warm` is the process that forks.
"""

import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.patience import PATIENCE

PACKET_BYTES = 64 * 1024
ANSWER_SECONDS = 60 * PATIENCE
OF_PYTEST = "PYTEST_"  # so begins what differs from test to test
ROOT = Path(__file__).resolve().parents[2]


class WarmChild:
    """A forked process, as `subprocess.Popen` shows one."""

    def __init__(self, warm: "Warm", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._warm = warm
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return its exit code, None while it runs."""
        return self._reaped() if self.returncode is None and self._has_ended(0) else self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code when it has ended. timeout: seconds; TimeoutExpired after them."""
        if self.returncode is None and not self._has_ended(timeout):
            raise subprocess.TimeoutExpired("coordinator", timeout or 0)
        return self._reaped() if self.returncode is None else self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens when it has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _has_ended(self, seconds: float | None) -> bool:
        return bool(select.select([self._handle], [], [], seconds)[0])

    def _reaped(self) -> int:
        self.returncode = self._warm.reap(self.pid)
        os.close(self._handle)
        return self.returncode


class Warm:
    """The process that forks; it is started when it is first needed, and ends with ours."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """environment: of the coordinators that it forks."""
        self._environment = _lasting(environment)
        self._socket: socket.socket | None = None
        self._one_at_a_time = threading.Lock()

    def can_start(self, environment: Mapping[str, str]) -> bool:
        """Whether a coordinator with this environment can be forked: libraries read it at their import."""
        return hasattr(os, "pidfd_open") and _lasting(environment) == self._environment

    def start(self, arguments: Sequence[str], folder: Path, output: int) -> WarmChild:
        """Fork `python -m coordinator arguments…` in `folder`.

        output: a file descriptor, its stdout and stderr.
        """
        question = json.dumps({"arguments": list(arguments), "folder": str(folder)})
        return WarmChild(self, self._ask(question, [output]))

    def reap(self, pid: int) -> int:
        """Return the exit code of a process that has ended; negative is the signal that ended it."""
        return self._ask(json.dumps({"reap": pid}), [])

    def _ask(self, question: str, descriptors: Sequence[int]) -> int:
        with self._one_at_a_time:
            self._socket = self._socket or self._begin()
            socket.send_fds(self._socket, [question.encode()], descriptors)
            answer = self._socket.recv(PACKET_BYTES)
        assert answer, "the process that forks coordinators has ended"
        return int(answer)

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(ANSWER_SECONDS)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm", str(theirs.fileno())],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

        def end() -> None:
            ours.close()  # which ends it
            process.wait()

        atexit.register(end)
        return ours


def _lasting(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(OF_PYTEST)}


def _serve(asked: socket.socket) -> list[str] | None:
    """Fork what is asked for; return the arguments in each child, at the end None in what forks them."""
    while True:
        packet, descriptors, _, _ = socket.recv_fds(asked, PACKET_BYTES, 1)
        if not packet:
            return None
        question = json.loads(packet)
        if "reap" in question:
            _, status = os.waitpid(question["reap"], 0)
            asked.send(str(os.waitstatus_to_exitcode(status)).encode())
            continue
        [output] = descriptors
        assert threading.active_count() == 1, "only a process of one thread can be forked"
        if pid := os.fork():
            os.close(output)
            asked.send(str(pid).encode())
            continue
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        asked.close()
        os.chdir(question["folder"])
        arguments: list[str] = question["arguments"]
        return arguments


def _main(descriptor: int) -> None:
    import coordinator.cli.main
    import coordinator.cli.serving
    import coordinator.server.process  # noqa: F401 - all three are what a start imports

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the coordinators, whose ends are waited for
    with socket.socket(fileno=descriptor) as asked:
        arguments = _serve(asked)
    if arguments is not None:
        sys.argv = ["coordinator", *arguments]
        runpy.run_module("coordinator", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
