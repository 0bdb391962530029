"""`make bench`: how many transactions a second `dtm` completes, and what each costs; see README.md."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TypeVar

from bench.findings import Findings, from_json, joined, save
from bench.load import require_wrk
from bench.machine import described, machine_busy
from bench.matrix import PROTOCOLS, STORES, Matrix, addresses, choices, named, numbers
from bench.report import write
from bench.run import WARM_UP_SECONDS, measure
from bench.sample import BenchError
from bench.scenes import add_options, asked_for, keep, play
from bench.subjects import Asked
from bench.transactions import PATTERNS
from tests.support.processes import ProcessFailed
from tests.support.programs import MissingProgram
from tests.support.under_test import ROOT

_LOOK_SECONDS = 1.0  # how long the machine is looked at before the start
_BUSY_SHARE = 0.1  # of all cores
_DOCUMENTS = ROOT / "docs"
_SCENES = _DOCUMENTS / "performance" / "scenes.md"

T = TypeVar("T")


def run(options: argparse.Namespace) -> int:
    """Measure, print, and write what was asked for; return the exit code."""
    if scenes := asked_for(options):
        require_wrk()
        found = play(scenes, lambda text: print(text, flush=True))
        if options.write:
            keep(_SCENES, found, options.remark)
            print(f"written: {_SCENES.relative_to(ROOT)}")
        return 0
    if options.findings:
        kept = [from_json(path.read_text(encoding="utf-8")) for path in options.findings]
        _report(joined(kept), _DOCUMENTS, options.remark)
        return 0
    matrix = Matrix(
        patterns=options.patterns,
        protocols=("grpc",) if options.grpc else options.protocols,
        stores=options.stores,
        at_a_time=options.at_a_time,
        rounds=options.rounds,
        seconds=options.seconds,
    )
    asked = Asked(
        against={name: Path(it).resolve() for name, it in options.against},
        references={name: Path(it).resolve() for name, it in options.reference},
        running=options.url,
        traced=options.traced,
        with_tokens=options.tokens,
        tolerated=options.tolerate,
        yardstick=options.yardstick and options.yardstick.resolve(),
    )
    if "http" in matrix.protocols:
        require_wrk()
    findings = Findings(
        date=date.today().isoformat(),  # noqa: DTZ011 - the date on the wall
        busy=machine_busy(_LOOK_SECONDS),
        machine=described(),
        servers=asked.described(),
        matrix=matrix,
    )
    _announce(findings)

    def keep_findings() -> None:
        if options.keep is not None:
            save(findings, options.keep)

    try:
        measure(findings, asked, lambda text: print(text, flush=True), keep=keep_findings)
    finally:  # what was found before something failed is worth as much
        if options.write and findings.samples:
            _report(findings, _DOCUMENTS, options.remark)
    for cell, failed in findings.failures.items():
        for name, why in failed.items():
            print(f"{name} failed in {cell}:\n{why}", file=sys.stderr)
    return 1 if findings.failures else 0


def _announce(findings: Findings) -> None:
    if findings.busy > _BUSY_SHARE:
        print(
            f"others use {findings.busy:.0%} of this machine:"
            " rates mean little, and every µs is dearer than on a quiet one"
        )
    for name, what in findings.servers.items():
        print(f"{name}: {what}")
    seconds = findings.matrix.estimated_seconds(len(findings.servers), warm_up_seconds=WARM_UP_SECONDS)
    print(f"{os.cpu_count()} cores; about {max(1, round(seconds / 60))} min", flush=True)


def _report(findings: Findings, folder: Path, remark: str) -> None:
    for path in write(findings, folder, remark):
        print(f"written: {path.relative_to(ROOT)}")


def _reading(read: Callable[[str], T]) -> Callable[[str], T]:
    """The function as argparse wants it, with the sentence of its ValueError."""

    def read_argument(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read_argument


def _among(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    return _reading(lambda text: choices(text, known))


def _at_least_one(text: str) -> int:
    [number] = numbers(text)
    return number


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add(
        "--patterns",
        type=_among(PATTERNS),
        default=PATTERNS[:3],
        help="of saga,tcc,msg,xa,workflow (first three)",
    )
    add("--protocols", type=_among(PROTOCOLS), default=PROTOCOLS, help="of http,grpc (both)")
    add("--grpc", action="store_true", help="the same as --protocols grpc")
    add("--stores", type=_among(STORES), default=STORES[:2], help="of mariadb,sqlite,postgres (first two)")
    add("--at-a-time", type=_reading(numbers), default=(1, 16, 64), help="transactions at a time (1,16,64)")
    add("--rounds", type=_reading(_at_least_one), default=5, help="runs of each server, taking turns (5)")
    add("--seconds", type=_reading(_at_least_one), default=8, help="length of one run (8)")
    add(
        "--against", type=_reading(named), action="append", default=[], metavar="[NAME=]CHECKOUT",
        help="the dtm of another checkout, run by its own .venv",
    )  # fmt: skip
    add(
        "--reference", type=_reading(named), action="append", default=[], metavar="[NAME=]PROGRAM",
        help="a Go dtm server, with UPDATE_BRANCH_SYNC=1; in place of SQLite on BoltDB",
    )  # fmt: skip
    add(
        "--url", type=_reading(addresses), action="append", default=[], metavar="NAME=http://…[,grpc://…]",
        help="a server that runs already, on whatever store",
    )  # fmt: skip
    add(
        "--tolerate", type=float, default=0.0, metavar="SHARE",
        help="of the answers of a --reference or --url that may be errors; the table says how many were (0)",
    )  # fmt: skip
    add("--traced", action="store_true", help="a dtm that traces every transaction")
    add("--tokens", action="store_true", help="a dtm where each call needs a token, and has one")
    add(
        "--yardstick",
        type=Path,
        metavar="DIR",
        help="the bare programs in DIR, bare_http.py and bare_grpc.py",
    )
    add_options(parser)
    add("--remark", default="", help="said on what is written, as what it ran on or what else ran meanwhile")
    add("--write", action="store_true", help="write docs/performance.md and its charts, or the scenes' page")
    add("--keep", type=Path, metavar="FILE", help="keep the findings as JSON after each measurement")
    add(
        "--findings",
        type=Path,
        action="append",
        metavar="FILE",
        help="measure nothing; write the documents from kept findings, of several runs where given again",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code."""
    try:
        return run(_options(arguments))
    except (BenchError, MissingProgram, ProcessFailed) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
