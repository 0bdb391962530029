"""From moments to places on a line: in order, far apart the farther the longer, long gaps cut. Pure."""

import math
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from coordinator.timeline.model import Place

PAST_MAX: Final = 32  # columns
AHEAD_MAX: Final = 10
CUT_SECONDS: Final = 60.0  # a gap that is longer is cut
_LEAST: Final = 15.0  # between two columns
_MOST_WEIGHT: Final = 6.0


@dataclass(frozen=True, slots=True)
class Column:
    """What stands at one x: a moment, or several near each other where there are too many."""

    x: float
    first: Place
    last: Place

    @property
    def at(self) -> datetime:
        """When it begins."""
        return self.first[0]


@dataclass(frozen=True, slots=True)
class Cut:
    """A gap that is not as long as it should be drawn, between two columns."""

    left: float
    right: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Scale:
    """past, ahead: columns from left to right. now: between both."""

    past: tuple[Column, ...]
    now: float
    ahead: tuple[Column, ...]
    cuts: tuple[Cut, ...]

    def x(self, place: Place, *, is_ahead: bool) -> float:
        """Where it is drawn. place: one of those that the scale was made of."""
        columns = self.ahead if is_ahead else self.past
        found = bisect_right([column.first for column in columns], place) - 1
        return columns[max(found, 0)].x


def scale_of(
    past: Collection[Place], now: datetime, ahead: Collection[Place], *, left: float, right: float
) -> Scale:
    """A scale from left to right. past: none later than now. ahead: none earlier; may be empty."""
    groups_past, groups_ahead = _grouped(sorted(past), PAST_MAX), _grouped(sorted(ahead), AHEAD_MAX)
    instant: Place = (now, 0, 0)
    groups = [*groups_past, [instant], *groups_ahead]
    gaps = [(after[0][0] - before[-1][0]).total_seconds() for before, after in pairwise(groups)]
    xs = _spread([max(gap, 0.0) for gap in gaps], left, right)
    columns = tuple(Column(x, group[0], group[-1]) for x, group in zip(xs, groups, strict=True))
    cuts = tuple(Cut(xs[at], xs[at + 1], gap) for at, gap in enumerate(gaps) if gap > CUT_SECONDS)
    here = len(groups_past)
    return Scale(columns[:here], xs[here], columns[here + 1 :], cuts)


def _grouped(places: Sequence[Place], at_most: int) -> list[list[Place]]:
    """Equal ones together, and where there are too many, those that are nearest to each other."""
    distinct = list(dict.fromkeys(places))
    if len(distinct) <= at_most:
        return [[one] for one in distinct]
    gaps = [
        ((after[0] - before[0]).total_seconds(), at)
        for at, (before, after) in enumerate(pairwise(distinct), start=1)
    ]
    # Of equal gaps every so many, so that one second of many steps is not one column and many single ones.
    widest = sorted(gaps, key=lambda gap: (-gap[0], _turned(gap[1])))[: at_most - 1]
    bounds = [0, *sorted(at for _, at in widest), len(distinct)]
    return [list(distinct[begin:end]) for begin, end in pairwise(bounds)]


def _turned(number: int) -> float:
    """The number's bits the other way round, as a fraction: successive ones are far apart."""
    return int(f"{number:b}"[::-1], 2) / (1 << number.bit_length())


def _spread(gaps: Sequence[float], left: float, right: float) -> list[float]:
    weights = [min(1.0 + 1.1 * math.log10(1.0 + gap), _MOST_WEIGHT) for gap in gaps]
    free = right - left - _LEAST * len(gaps)
    share = free / sum(weights) if weights else 0.0
    xs, x = [left], left
    for weight in weights:
        x += _LEAST + share * weight
        xs.append(x)
    return xs
