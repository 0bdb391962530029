"""Everything that one run found out; kept as JSON, so that a report needs no second measurement."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from bench.matrix import Cell, Matrix
from bench.sample import Sample, middle

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limit:
    """What the machine can do at the most. rates: a second, by how many ask at a time."""

    what: str
    rates: Mapping[int, float]


@dataclass(slots=True)
class Findings:
    """date: YYYY-MM-DD. busy: the share of the machine that others used before the start.

    servers: what each is, ours first. samples: of each cell, then of each server, in turn. failures: why,
    likewise.
    """

    date: str
    busy: float
    machine: Mapping[str, str]
    servers: Mapping[str, str]
    matrix: Matrix
    limits: list[Limit] = field(default_factory=list)
    samples: dict[Cell, dict[str, list[Sample]]] = field(default_factory=dict)
    failures: dict[Cell, dict[str, str]] = field(default_factory=dict)

    def medians(self, cell: Cell) -> dict[str, Sample]:
        """Of the servers that did not fail there."""
        failed = self.failures.get(cell, {})
        taken = self.samples.get(cell, {})
        return {name: middle(it) for name, it in taken.items() if it and name not in failed}

    def as_json(self) -> str:
        """Everything, for `from_json`."""
        return json.dumps(
            {
                "date": self.date,
                "busy": self.busy,
                "machine": dict(self.machine),
                "servers": dict(self.servers),
                "matrix": asdict(self.matrix),
                "limits": [asdict(it) for it in self.limits],
                "cells": [
                    {
                        "cell": asdict(cell),
                        "samples": {name: [asdict(it) for it in its] for name, its in taken.items()},
                        "failures": self.failures.get(cell, {}),
                    }
                    for cell, taken in self.samples.items()
                ],
            },
            indent=1,
        )


def from_json(text: str) -> Findings:
    """Read what `as_json` wrote."""
    read: dict[str, Any] = json.loads(text)
    cells: Sequence[Mapping[str, Any]] = read["cells"]
    matrix: dict[str, Any] = {
        key: tuple(it) if isinstance(it, list) else it for key, it in read["matrix"].items()
    }
    return Findings(
        date=read["date"],
        busy=read["busy"],
        machine=read["machine"],
        servers=read["servers"],
        matrix=Matrix(**matrix),
        limits=[
            Limit(it["what"], {int(key): rate for key, rate in it["rates"].items()}) for it in read["limits"]
        ],
        samples={
            Cell(**it["cell"]): {name: [Sample(**one) for one in its] for name, its in it["samples"].items()}
            for it in cells
        },
        failures={Cell(**it["cell"]): it["failures"] for it in cells if it["failures"]},
    )


def joined(parts: Sequence[Findings]) -> Findings:
    """What several runs of the same servers, rounds and seconds found out, as if it had been one.

    Raises ValueError where they are not the same.
    """
    first = parts[0]
    for part in parts:
        same = (part.servers, part.matrix.rounds, part.matrix.seconds)
        if same != (first.servers, first.matrix.rounds, first.matrix.seconds):
            raise ValueError("findings can be joined where servers, rounds and seconds are the same")
    matrices = [part.matrix for part in parts]
    return replace(
        first,
        busy=max(part.busy for part in parts),
        matrix=replace(
            first.matrix,
            patterns=_each(it.patterns for it in matrices),
            protocols=_each(it.protocols for it in matrices),
            stores=_each(it.stores for it in matrices),
            at_a_time=_each(it.at_a_time for it in matrices),
        ),
        limits=list({limit.what: limit for part in parts for limit in part.limits}.values()),
        samples={cell: it for part in parts for cell, it in part.samples.items()},
        failures={cell: it for part in parts for cell, it in part.failures.items()},
    )


def _each(several: Iterable[tuple[T, ...]]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(chain.from_iterable(several)))


def save(findings: Findings, path: Path) -> None:
    """Write the file anew, so that it is whole at every moment."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(findings.as_json(), encoding="utf-8")
    unfinished.replace(path)
