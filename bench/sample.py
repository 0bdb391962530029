"""One measurement, and what many of them say together. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median


class BenchError(Exception):
    """The measurement cannot be made, or would say nothing; the text says why."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a load generator saw."""

    transactions: int
    seconds: float
    errors: int
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Transactions a second."""
        return self.transactions / self.seconds


@dataclass(frozen=True, slots=True)
class Sample:
    """One run against one server: a Load's figures, and what was used meanwhile for each transaction.

    CPU: microseconds a transaction, user and system; None where it cannot be seen. counters: what the
    database counted for 1,000 transactions, by its own names.
    """

    transactions: int
    rate: float
    p50_ms: float
    p99_ms: float
    errors: int = 0
    server_cpu: float | None = None
    database_cpu: float | None = None
    counters: Mapping[str, float] = field(default_factory=dict)


def middle(samples: Sequence[Sample]) -> Sample:
    """The median of every figure by itself; of the errors, the sum."""
    names = [name for name in samples[0].counters if all(name in it.counters for it in samples)]
    return Sample(
        transactions=round(median([it.transactions for it in samples])),
        rate=median([it.rate for it in samples]),
        p50_ms=median([it.p50_ms for it in samples]),
        p99_ms=median([it.p99_ms for it in samples]),
        errors=sum(it.errors for it in samples),
        server_cpu=_median_if_known([it.server_cpu for it in samples]),
        database_cpu=_median_if_known([it.database_cpu for it in samples]),
        counters={name: median([it.counters[name] for it in samples]) for name in names},
    )


def spread(values: Sequence[float]) -> float:
    """How far apart they lie: the widest distance, as a share of their median."""
    return (max(values) - min(values)) / median(values)


def ratio(
    ours: Sequence[Sample], others: Sequence[Sample], figure: Callable[[Sample], float | None]
) -> float | None:
    """Our figure over the other's: the median over neighbouring runs, which had the same machine.

    None where one of the two is not known, or a run of one is missing.
    """
    if len(ours) != len(others):
        return None
    quotients = []
    for one, other in zip(map(figure, ours), map(figure, others), strict=True):
        if one is None or not other:
            return None
        quotients.append(one / other)
    return median(quotients) if quotients else None


def percentile(taken: Sequence[float], share: float) -> float:
    """The smallest value that this share of them does not exceed. taken: sorted, not empty. share: 0 to 1."""
    return taken[max(0, -int(-len(taken) * share // 1) - 1)]


def per_thousand(before: Mapping[str, int], after: Mapping[str, int], transactions: int) -> dict[str, float]:
    """How far each counter went for 1,000 transactions; one that stood still is left out."""
    return {
        name: 1000 * (value - before[name]) / transactions
        for name, value in after.items()
        if name in before and value != before[name]
    }


def _median_if_known(values: Sequence[float | None]) -> float | None:
    known = [it for it in values if it is not None]
    return median(known) if len(known) == len(values) else None
