"""Rows of words as a table: aligned for a terminal, or Markdown. Pure."""

from collections.abc import Mapping, Sequence

from bench.sample import Sample, ratio, spread

HEADING = (
    *("pattern", "at a time", "server", "per second", "± %", "errors", "p50 ms", "p99 ms"),
    *("server µs", "database µs", "commands", "connections", "rate ratio", "CPU ratio"),
)
_WORDS = 3  # the first columns, which stand left; figures stand right
_UNKNOWN = "–"


def aligned(rows: Sequence[Sequence[str]], *, words: int = _WORDS) -> str:
    """For a terminal. words: how many columns at the left are not figures."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown(rows: Sequence[Sequence[str]], *, words: int = _WORDS) -> str:
    """For a document; the first row is the heading."""
    rule = ["---" if place < words else "---:" for place in range(len(rows[0]))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], rule, *rows[1:]])


def cell_rows(
    pattern: str, at_a_time: int, taken: Mapping[str, Sequence[Sample]], medians: Mapping[str, Sample]
) -> list[list[str]]:
    """One row of each server, as HEADING says. taken: the runs of each; one without a median has failed.

    The ratios are the first server's figure over the other's, rate and server µs with database µs.
    """
    ours = next(iter(taken))
    rows = []
    for name, samples in taken.items():
        row = [pattern, str(at_a_time), name]
        if name not in medians:
            rows.append([*row, "failed", *[_UNKNOWN] * (len(HEADING) - len(row) - 1)])
            continue
        found = medians[name]
        ratios = [
            ratio(taken[ours], samples, figure) if name != ours and ours in medians else None
            for figure in (_rate, all_cpu)
        ]
        rows.append(
            [
                *row,
                number(found.rate),
                number(50 * spread([it.rate for it in samples])),
                str(found.errors),
                number(found.p50_ms),
                number(found.p99_ms),
                number(found.server_cpu),
                number(found.database_cpu),
                number(found.counters.get("Questions")),
                number(_connections(found)),
                *(_UNKNOWN if it is None else f"{it:.2f}" for it in ratios),
            ]
        )
    return rows


def number(value: float | None) -> str:
    """A figure with as many digits as mean something."""
    if value is None:
        return _UNKNOWN
    if abs(value) >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def all_cpu(sample: Sample) -> float | None:
    """Processor time of a transaction, the server's and the database's; None unless the server's is known."""
    if sample.server_cpu is None:
        return None
    return sample.server_cpu + (sample.database_cpu or 0)


def _rate(sample: Sample) -> float:
    return sample.rate


def _connections(sample: Sample) -> float | None:
    if "Questions" not in sample.counters:
        return None
    return sample.counters.get("Connections", 0.0)
