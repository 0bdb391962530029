"""One program as a child process: start, wait until ready, read what it printed, end by its own pid."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

from tests.support.patience import PATIENCE

POLL_SECONDS = 0.02


def as_user(name: str | None) -> dict[str, Any]:
    """Return what makes `subprocess` run a program as that user; nothing for None."""
    if name is None:
        return {}
    import pwd  # not on Windows

    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


class Child(Protocol):
    """A running program, as `subprocess.Popen` shows it."""

    pid: int
    returncode: Any

    def poll(self) -> int | None:
        """Return its exit code, None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code when it has ended."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal."""

    def kill(self) -> None:
        """Send SIGKILL."""


class ProcessFailed(Exception):
    """The program ended, or did not become ready in time; the text ends with what it printed."""


class Process:
    """A child process that can be started again after it was stopped or killed.

    All methods block; in a coroutine call them through `asyncio.to_thread`.
    Works as a context manager: entering starts it, leaving stops it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | str | None = None,
        ready: Callable[[], bool] = lambda: True,
        start_seconds: float = 60,
        stop_seconds: float = 30,
        stop_signal: signal.Signals = signal.SIGTERM,
        user: str | None = None,
        fork: Callable[[int], Child | None] = lambda _output: None,
    ) -> None:
        """Describe the program; nothing is started yet.

        environment: replaces the whole environment, None inherits it. folder: its working directory.
        ready: polled after the start until true. stop_seconds: from the stop_signal to SIGKILL.
        user: whom it runs as, with that user's own group; None is ourselves.
        fork: starts it in another way where it can; given the file descriptor for what it prints.
        """
        self.name = name or Path(command[0]).name
        self._command = list(command)
        self._environment = environment
        self._folder = folder
        self._ready = ready
        self._start_seconds = start_seconds * PATIENCE
        self._stop_seconds = stop_seconds * PATIENCE
        self._stop_signal = stop_signal
        self._user = user
        self._fork = fork
        self._child: Child | None = None
        # A file, not a pipe: a pipe nobody reads would stop the program after 64 KiB.
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object

    @property
    def pid(self) -> int:
        """The pid of the running child."""
        if self._child is None:
            raise ProcessFailed(f"{self.name} is not running")
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """True between a start and the end of the child, whoever ended it."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> Self:
        """Start it and wait until it is ready; raise ProcessFailed with its output otherwise."""
        self.launch()
        return self.wait_until_ready()

    def launch(self) -> None:
        """Start it without waiting for anything."""
        if self.is_running:
            raise ProcessFailed(f"{self.name} is already running")
        self._child = self._fork(self._output.fileno()) or subprocess.Popen(
            self._command,
            env=None if self._environment is None else dict(self._environment),
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=self._output.fileno(),
            stderr=subprocess.STDOUT,
            **as_user(self._user),
        )

    def wait_until_ready(self) -> Self:
        """Return once `ready` says so; raise ProcessFailed when the child ends first or the time is over."""
        deadline = time.monotonic() + self._start_seconds
        while True:
            if not self.is_running:
                code = self._child.returncode if self._child else None
                raise ProcessFailed(
                    f"{self.name} ended with code {code} before it was ready:\n{self.output()}"
                )
            if self._ready():
                return self
            if time.monotonic() > deadline:
                self.kill()
                raise ProcessFailed(f"{self.name} not ready after {self._start_seconds} s:\n{self.output()}")
            time.sleep(POLL_SECONDS)  # another process has no event for "ready"

    def stop(self) -> int:
        """Send the stop_signal and wait; return the exit code.

        One that still runs after `stop_seconds` is killed and ProcessFailed raised.
        """
        child = self._child
        if child is None:
            return 0
        if child.poll() is None:
            child.send_signal(self._stop_signal)
            child.send_signal(signal.SIGCONT)  # one that a test has paused would never see the other
            try:
                child.wait(self._stop_seconds)
            except subprocess.TimeoutExpired as error:
                self.kill()
                after = f"{self._stop_seconds} s after {self._stop_signal.name}"
                raise ProcessFailed(f"{self.name} still ran {after}:\n{self.output()}") from error
        self._child = None
        code: int = child.returncode
        return code

    def kill(self) -> None:
        """Send SIGKILL and wait until it is gone. Nothing happens when it is not running."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, for instance SIGSTOP and SIGCONT for a server that hangs."""
        os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Wait until it ends by itself, at most `timeout` seconds; return its exit code."""
        assert self._child is not None
        code = self._child.wait(timeout * PATIENCE)
        self._child = None
        return code

    def output(self) -> str:
        """Return what it has printed since the first start, stdout and stderr together."""
        # pread, because the child writes through the same file position
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    def close(self) -> None:
        """Stop it if it runs and forget its output."""
        try:
            self.stop()
        finally:
            self._output.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def children_of(pid: int) -> list[int]:
    """The pids of the processes that this one has started and that are there still."""
    return [
        int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    ]


def is_alive(pid: int) -> bool:
    """Whether it runs; one that has ended and is not waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or before it was read
        return False
