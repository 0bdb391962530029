"""Which scenes were asked for beside the matrix, played one by one, and the page of what they showed."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path

from bench.machine import commit_of, described
from bench.planted import delayed, due, filled
from bench.pressed import by_workers, overload, soak
from bench.tables import aligned, markdown
from tests.support.under_test import ROOT

Tell = Callable[[str], None]
Row = tuple[str, str]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The scenes' flags."""
    number = partial(parser.add_argument, type=int, default=0)
    number("--fill", metavar="N", help="the rate over N transactions that have ended, beside an empty store")
    number("--due", metavar="N", help="N transactions that are due at once")
    number("--delayed", metavar="N", help="N messages that wait for a day, and some that are due soon")
    number("--workers", metavar="N", help="1, 2, 4 … N worker processes, each with a quarter of a core")
    number("--soak", metavar="MINUTES", help="at capacity for so long: whether anything grows")
    number(
        "--overload",
        metavar="SECONDS",
        help="for so long three times the requests it can take, over ten times the connections",
    )


def asked_for(options: argparse.Namespace) -> Mapping[str, Callable[[Tell], Sequence[Row]]]:
    """The scenes by how they were asked for, in the order in which they are played."""
    seconds = options.seconds
    every: Sequence[tuple[str, int, Callable[[Tell], Sequence[Row]]]] = (
        (f"--fill {options.fill}", options.fill, lambda tell: filled(options.fill, seconds, tell)),
        (f"--due {options.due}", options.due, lambda tell: due(options.due, tell)),
        (f"--delayed {options.delayed}", options.delayed, lambda tell: delayed(options.delayed, tell)),
        (f"--overload {options.overload}", options.overload, lambda tell: overload(options.overload, tell)),
        (
            f"--workers {options.workers}",
            options.workers,
            lambda tell: by_workers(options.workers, seconds, tell),
        ),
        (f"--soak {options.soak}", options.soak, lambda tell: soak(options.soak, tell)),
    )
    return {name: play for name, wanted, play in every if wanted}


def play(scenes: Mapping[str, Callable[[Tell], Sequence[Row]]], tell: Tell) -> Mapping[str, Sequence[Row]]:
    """Play them. Raises BenchError and OSError."""
    found: dict[str, Sequence[Row]] = {}
    for name, scene in scenes.items():
        tell(f"\n{name}")
        found[name] = scene(tell)
        tell(aligned(found[name], words=1))
    return found


def page(found: Mapping[str, Sequence[Row]], remark: str) -> str:
    """The document of what they showed. remark: what else ran meanwhile."""
    machine = [("machine", ""), *described().items()]
    parts = [
        "# Scenes",
        f"Written by `make bench` on {date.today().isoformat()}, this checkout at {commit_of(ROOT)}."  # noqa: DTZ011 - the date on the wall
        f" {remark}".rstrip(),
        markdown(machine, words=2),
    ]
    for name, rows in found.items():
        parts += [f"## `{name}`", markdown([("what was seen", ""), *rows], words=1)]
    return "\n\n".join(parts) + "\n"


def keep(path: Path, found: Mapping[str, Sequence[Row]], remark: str) -> None:
    """Write the document."""
    path.write_text(page(found, remark), encoding="utf-8")
