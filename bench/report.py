"""docs/performance.md and its charts, from the findings of a run. Pure but for `write`."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench.bars import Group, chart
from bench.findings import Findings, Limit
from bench.matrix import Cell
from bench.sample import Sample
from bench.tables import HEADING, cell_rows, markdown, number

_PROTOCOL_NAMES = {"http": "HTTP", "grpc": "gRPC"}
_STORE_NAMES = {"mariadb": "MariaDB", "sqlite": "SQLite", "postgres": "PostgreSQL"}
_FOLDER = "performance"  # of the charts, beside the document


def documents(findings: Findings, remark: str = "") -> dict[str, str]:
    """Path below docs/ → text: the document, and the charts that it shows. remark: said on it."""
    text = [_introduction(findings, remark)]
    charts: dict[str, str] = {}
    for store in findings.matrix.stores:
        for protocol in findings.matrix.protocols:
            cells = [it for it in findings.matrix.cells(store) if it.protocol == protocol]
            cells = [it for it in cells if it in findings.samples]
            if not cells:
                continue
            title = f"{_STORE_NAMES[store]}, {_PROTOCOL_NAMES[protocol]}"
            drawn = dict(_charts(findings, cells, title, f"{_FOLDER}/{store}-{protocol}"))
            charts |= drawn
            shown = "\n\n".join(f"![{_title_of(svg)}]({path})" for path, svg in drawn.items())
            text.append(f"## {title}\n\n{shown}\n\n{_table(findings, cells)}\n")
    return {"performance.md": "\n".join(text), **charts}


def write(findings: Findings, folder: Path, remark: str = "") -> list[Path]:
    """Write the documents below the folder; returns their paths. remark: of what was measured on."""
    written = []
    for name, text in documents(findings, remark).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def limits_table(limits: list[Limit]) -> list[list[str]]:
    """A row for each limit, a column for each number at a time."""
    columns = sorted({it for limit in limits for it in limit.rates})
    rows = [["a second, at the most", *(f"{it} at a time" for it in columns)]]
    return rows + [[it.what, *(number(it.rates.get(column)) for column in columns)] for it in limits]


def _introduction(findings: Findings, remark: str) -> str:
    matrix = findings.matrix
    machine = [["machine", ""], *([name, value] for name, value in findings.machine.items())]
    remarked = f"\n\n{remark}" if remark else ""
    servers = [["server", ""], *([name, value] for name, value in findings.servers.items())]
    return f"""\
# How fast it is

Written by `make bench` on {findings.date}. What is measured, and how: [bench/README.md](../bench/README.md).
The servers took turns, {matrix.rounds} runs of {matrix.seconds} s each; every figure is a median of these.
Others used {findings.busy:.0%} of the machine before the start. Rates say as much about the machine as
about the program; the ratios can be compared. What operators wait for in a store of a million
transactions: [performance/operate.md](performance/operate.md); what the console costs in it:
[performance/console.md](performance/console.md). Full tables, a crowd of due rows, overload, more
processes: [performance/scenes.md](performance/scenes.md).{remarked}

{markdown(machine, words=2)}

{markdown(servers, words=2)}

What the machine itself can do, measured before:

{markdown(limits_table(findings.limits), words=1)}

- *per second*: transactions answered as ended, all of them found in the store afterwards.
- *± %*: half the distance between the best run and the worst. *errors*: answers
  of all runs that were errors.
- *server µs*, *database µs*: processor time of a transaction; an embedded store's is in the server's.
- *commands*, *connections*: what MariaDB counted for 1,000 transactions: statements, and new connections.
- *rate ratio*: {next(iter(findings.servers))}'s rate over the other server's. *CPU ratio*: the same of all
  processor time, server and database.
{_failures(findings)}"""


def _failures(findings: Findings) -> str:
    named = [
        f"- {cell.pattern}, {_PROTOCOL_NAMES[cell.protocol]}, {_STORE_NAMES[cell.store]},"
        f" {cell.at_a_time} at a time, {name}: {_first_line(why)}"
        for cell, failed in findings.failures.items()
        for name, why in failed.items()
    ]
    return "\n".join(["", "Failed, and so without figures:", "", *named, ""]) if named else ""


def _table(findings: Findings, cells: list[Cell]) -> str:
    rows: list[list[str]] = [list(HEADING)]
    for cell in cells:
        rows += cell_rows(cell.pattern, cell.at_a_time, findings.samples[cell], findings.medians(cell))
    return markdown(rows)


def _charts(findings: Findings, cells: list[Cell], title: str, path: str) -> Iterator[tuple[str, str]]:
    series = [name for name in findings.servers if any(name in findings.samples[it] for it in cells)]
    medians = {cell: findings.medians(cell) for cell in cells}
    yield (
        f"{path}-rate.svg",
        chart(f"{title}: transactions a second", series, _groups(medians, series, lambda it: [it.rate])),
    )
    measured = [name for name in series if any(_cpu(it[name]) for it in medians.values() if name in it)]
    if measured:
        yield (
            f"{path}-cpu.svg",
            chart(
                f"{title}: µs of processor time a transaction, server, then database (paler)",
                measured,
                _groups(medians, measured, _cpu),
            ),
        )


def _groups(
    medians: Mapping[Cell, Mapping[str, Sample]],
    series: list[str],
    figure: Callable[[Sample], list[float] | None],
) -> list[Group]:
    return [
        Group(
            f"{cell.pattern}, {cell.at_a_time} at a time",
            [figure(found[name]) if name in found else None for name in series],
        )
        for cell, found in medians.items()
    ]


def _cpu(sample: Sample) -> list[float] | None:
    if sample.server_cpu is None:
        return None
    return [sample.server_cpu, *([] if sample.database_cpu is None else [sample.database_cpu])]


def _title_of(svg: str) -> str:
    return svg.partition("<title>")[2].partition("</title>")[0]


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
