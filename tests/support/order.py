"""Which file of tests comes when: some of them mostly wait, others keep a core busy."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Protocol, TypeVar

TESTS = Path(__file__).resolve().parents[1]
# Of each kind the folders whose files take longest come first: no process is left with one at the end.
WAITING = ("chaos", "interop", "browser", "environments", "docs", "integration")
BUSY = ("simulation", "unit")
BUSY_ALONE = 0.1  # of the files that keep a core busy, so many come last of all: they are short


class HasPath(Protocol):
    """A test."""

    @property
    def path(self) -> Path:
        """Its file."""


Item = TypeVar("Item", bound=HasPath)


def in_order(items: Iterable[Item]) -> list[Item]:
    """Return the tests in an order in which files that wait are spread among those that keep a core busy.

    What is between two tests of a file stays as it is.
    """
    files = [list(file) for _, file in groupby(items, key=lambda item: item.path)]
    files.sort(key=lambda file: _rank(file[0]))  # stable: the order inside a folder stays
    waiting = [file for file in files if _rank(file[0]) < len(WAITING)]
    busy = files[len(waiting) :]
    places = [*_places(waiting, 1 - BUSY_ALONE), *_places(busy, 1.0)]
    return [item for _, file in sorted(places, key=lambda it: it[0]) for item in file]


def _rank(item: HasPath) -> int:
    name = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
    folders = (*WAITING, *BUSY)
    return folders.index(name) if name in folders else len(folders)


def _places(files: Sequence[list[Item]], end: float) -> list[tuple[float, list[Item]]]:
    """Where each comes between 0 and `end`, evenly."""
    return [(end * number / len(files), file) for number, file in enumerate(files)]
