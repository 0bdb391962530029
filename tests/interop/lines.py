"""What a run says of each client, pattern and protocol, and the programs that say it."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.support.under_test import ROOT

RESULTS = ("passed", "failed", "not run")


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """One client × pattern × protocol. why: empty when it passed."""

    client: str
    pattern: str
    protocol: str
    result: str
    why: str = ""

    def __str__(self) -> str:
        """`passed  Go …: saga over http`, and why if it did not."""
        what = f"{self.result:<8} {self.client}: {self.pattern} over {self.protocol}"
        return f"{what}: {self.why}" if self.why else what


@dataclass(frozen=True, slots=True)
class Program:
    """A program that prints `result⇥pattern⇥protocol⇥seconds⇥why`, one line for each of its patterns."""

    client: str  # with its version, as docs/compatibility.md names it
    name: str  # of the test
    command: tuple[str, ...]
    seconds_max: float = 400


def run_program(program: Program, environment: Mapping[str, str]) -> list[Line]:
    """Run it; a program that ends badly has a failed line of its own, with what it printed."""
    where = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    try:
        done = subprocess.run(
            program.command,
            env=where,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=program.seconds_max,
            check=False,
            cwd=ROOT,
        )
    except subprocess.TimeoutExpired:
        return [Line(program.client, "all", program.name, "failed", f"no end after {program.seconds_max} s")]
    lines = parse(program.client, done.stdout.splitlines())
    if done.returncode != 0 or not lines:
        why = f"exit code {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
        lines.append(Line(program.client, "all", program.name, "failed", why))
    return lines


def parse(client: str, printed: Sequence[str]) -> list[Line]:
    """Return the lines among what a program printed; libraries print things, too."""
    lines = []
    for text in printed:
        match text.split("\t"):
            case [result, pattern, protocol, _seconds, *why] if result in RESULTS:
                lines.append(Line(client, pattern, protocol, result, " ".join(why)))
    return lines


def line_of(client: str, pattern: str, protocol: str, scenario: Callable[[], None]) -> Line:
    """Run a scenario that a test can run itself; a broken assertion is a failed line."""
    try:
        scenario()
    except (AssertionError, OSError, ValueError, LookupError) as error:
        why = " ⏎ ".join(f"{type(error).__name__}: {error}".splitlines())
        return Line(client, pattern, protocol, "failed", why)
    return Line(client, pattern, protocol, "passed")
