"""Present values, asked for at each scrape."""

import heapq
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

LABEL_VALUES_MAX: Final = 50  # of one gauge; what is beyond counts as `other`
OTHER: Final = "other"
UNUSED_SECONDS: Final = 300.0  # after so long without a value, a label makes room for a new one

Value = float | Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class _Gauge:
    name: str
    help_text: str
    label: str
    read: Callable[[], Value]
    names: dict[str, float]  # label values shown, and when each last had a value


class GaugeFamily(Collector):
    """Gauges, each with the function that reads it. monotonic: seconds from an arbitrary start."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._gauges: dict[str, _Gauge] = {}

    def add(self, name: str, help_text: str, read: Callable[[], Value], *, label: str = "") -> None:
        """Show what `read` returns, under this name; None shows nothing. A mapping goes with a label.

        Whatever values the label takes in time, at most LABEL_VALUES_MAX are shown; one that had none for
        UNUSED_SECONDS makes room for another.
        """
        self._gauges[name] = _Gauge(name, help_text, label, read, {})

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        for gauge in self._gauges.values():
            value = gauge.read()
            if value is None:
                continue
            if not isinstance(value, Mapping):
                yield GaugeMetricFamily(gauge.name, gauge.help_text, value=value)
                continue
            family = GaugeMetricFamily(gauge.name, gauge.help_text, labels=(gauge.label,))
            for name, number in _bounded(value, gauge.names, self._monotonic()).items():
                family.add_metric((name,), number)
            yield family


def _bounded(values: Mapping[str, float], names: dict[str, float], now: float) -> dict[str, float]:
    """The values under names that were shown lately, or that there is still room for; the rest together."""
    new = [name for name in values if name not in names]
    names |= {name: now for name in names if name in values}
    if new and len(names) + len(new) > LABEL_VALUES_MAX:
        for name in [name for name, used in names.items() if used <= now - UNUSED_SECONDS]:
            del names[name]
    room = LABEL_VALUES_MAX - len(names)
    if room > 0 and new:
        names |= dict.fromkeys(heapq.nlargest(room, new, key=values.__getitem__), now)
    shown = {name: number for name, number in values.items() if name in names}
    rest = sum(number for name, number in values.items() if name not in names)
    return {**shown, OTHER: rest} if rest else shown
