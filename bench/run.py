"""The measuring itself: one store after the other, its servers in turn."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.branch import BranchProcess
from bench.databases import DatabaseServer
from bench.findings import Findings
from bench.limits import branch_limit, store_limits
from bench.load import grpc_load, http_load
from bench.machine import cpu_seconds
from bench.matrix import Cell
from bench.sample import BenchError, Load, Sample, per_thousand
from bench.subjects import Asked, Starting, Subject
from bench.tables import HEADING, aligned, cell_rows
from tests.support.processes import Process, ProcessFailed
from tests.support.servers import MariaDBServer, PostgresServer

WARM_UP_SECONDS = 1
_LIMIT_SECONDS = 2
_LINES, _LINE_CHARACTERS = 5, 300

Tell = Callable[[str], None]


def measure(findings: Findings, asked: Asked, tell: Tell, *, keep: Callable[[], None]) -> None:
    """Fill the findings with everything that their matrix names. keep: called after each cell."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(TemporaryDirectory(prefix="dtm-bench-")))
        branches = {}
        for protocol in findings.matrix.protocols:
            branch = opened.enter_context(BranchProcess(protocol, folder / f"{protocol}-branch"))
            branches[protocol] = branch
            findings.limits.append(
                branch_limit(branch, protocol, findings.matrix.at_a_time, _limit_seconds(findings))
            )
            tell(f"{findings.limits[-1].what}: {_rates(findings)}")
        for store in findings.matrix.stores:
            with _database(store) as database, ExitStack() as servers:
                below = folder / store
                below.mkdir()
                for limit in store_limits(store, database, below, _limit_seconds(findings)):
                    findings.limits.append(limit)
                    tell(f"{limit.what}: {_rates(findings)}")
                subjects = Starting(store, database, below, servers).all(asked, findings.matrix.protocols)
                for cell in findings.matrix.cells(store):
                    takers = [it for it in subjects if it.takes(cell)]
                    _measure_cell(findings, cell, takers, branches[cell.protocol], tell)
                    keep()


def _measure_cell(
    findings: Findings, cell: Cell, subjects: list[Subject], branch: BranchProcess, tell: Tell
) -> None:
    """Let the servers take turns; one that fails is left out of the rest, and named."""
    samples: dict[str, list[Sample]] = {it.name: [] for it in subjects}
    failures: dict[str, str] = {}
    for turn in range(findings.matrix.rounds + 1):
        for subject in subjects:
            if subject.name in failures:
                continue
            try:
                sample = _measure_once(
                    subject, cell, branch, findings.matrix.seconds if turn else WARM_UP_SECONDS
                )
            except (BenchError, ProcessFailed, OSError) as error:
                failures[subject.name] = str(error)
                tell(f"{cell.store}, {cell.protocol}, {cell.pattern}, {cell.at_a_time}: FAILED: {error}")
                continue
            if turn:
                samples[subject.name].append(sample)
    findings.samples[cell] = samples
    if failures:
        findings.failures[cell] = failures
    rows = cell_rows(cell.pattern, cell.at_a_time, samples, findings.medians(cell))
    tell(f"\n{cell.store}, {cell.protocol}\n{aligned([list(HEADING), *rows])}")


def _measure_once(subject: Subject, cell: Cell, branch: BranchProcess, seconds: int) -> Sample:
    """Drive the server on empty tables for so long. Raises BenchError, ProcessFailed and OSError."""
    subject.rows.empty()
    run = uuid.uuid4().hex[:12]
    drive = grpc_load if cell.protocol == "grpc" else http_load
    counters, cpu, database_cpu = subject.database.counters(), _server_cpu(subject), subject.database.cpu()
    load = drive(
        subject.targets[cell.protocol],
        branch.address,
        run,
        pattern=cell.pattern,
        at_a_time=cell.at_a_time,
        seconds=seconds,
        token=subject.token,
    )
    used = _difference(cpu, _server_cpu(subject)), _difference(database_cpu, subject.database.cpu())
    counted = subject.database.counters()
    _check(subject, load, run)
    server_micros, database_micros = (
        None if it is None or subject.process is None else 1e6 * it / load.transactions for it in used
    )
    return Sample(
        transactions=load.transactions,
        rate=load.rate,
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
        errors=load.errors,
        server_cpu=server_micros,
        database_cpu=database_micros,
        counters=per_thousand(counters, counted, load.transactions) if subject.process else {},
    )


def _check(subject: Subject, load: Load, run: str) -> None:
    """What was answered is in the store, and nothing failed. Raises BenchError."""
    if not load.transactions or load.errors > subject.tolerated * (load.errors + load.transactions):
        what = f"{subject.name}: {load.errors} errors, {load.transactions} transactions"
        raise BenchError(f"{what}\n{_last_lines(subject.process)}".strip())
    stored = subject.rows.succeeded(run)
    if stored < load.transactions:
        raise BenchError(f"{subject.name}: answered {load.transactions} transactions, stored {stored}")


def _last_lines(process: Process | None) -> str:
    """What the server printed at the end; where a line goes on for long, its beginning."""
    lines = process.output().splitlines()[-_LINES:] if process else []
    return "\n".join(line[:_LINE_CHARACTERS] for line in lines)


def _server_cpu(subject: Subject) -> float | None:
    return None if subject.process is None else cpu_seconds(subject.process.pid)


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _limit_seconds(findings: Findings) -> int:
    return min(_LIMIT_SECONDS, findings.matrix.seconds)


def _rates(findings: Findings) -> str:
    return ", ".join(f"{rate:,.0f} a second by {it}" for it, rate in findings.limits[-1].rates.items())


@contextmanager
def _database(store: str) -> Iterator[DatabaseServer]:
    """A throw-away database server; none for SQLite. Every commit of it reaches the disk."""
    if store == "sqlite":
        yield DatabaseServer(None)
        return
    with MariaDBServer() if store == "mariadb" else PostgresServer() as server:
        database = DatabaseServer(server)
        try:
            yield database
        finally:
            database.close()
