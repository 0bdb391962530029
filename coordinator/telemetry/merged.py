"""The metrics of several processes as those of one. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

# What every process says of what they share, or of when it began; all else adds up.
_JOINED: Final[Mapping[str, Callable[[Iterable[float]], float]]] = {
    "dtm_transactions": max,
    "dtm_transactions_oldest_seconds": max,
    "dtm_transactions_due": max,
    "dtm_claim_lag_seconds": max,
    "dtm_ready": min,
    "dtm_registered": max,
    "dtm_server_info": max,
    "python_info": max,
    "process_start_time_seconds": min,
    "process_max_fds": min,
}
_BORN: Final = "_created"  # when a counter began, which is no figure of its own


def merged(texts: Sequence[bytes]) -> bytes:
    """Return the exposition of all of these together; one alone stays as it is.

    A sample that some lack counts where it is. Raises ValueError for what is no exposition.
    """
    if len(texts) == 1:
        return texts[0]
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], list[float]]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text.decode()):
            families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            found = values.setdefault(family.name, {})
            for sample in family.samples:
                if not sample.name.endswith(_BORN):
                    found.setdefault((sample.name, tuple(sample.labels.items())), []).append(sample.value)
    for name, family in families.items():
        join = _JOINED.get(name, sum)
        family.samples = [
            Sample(sample, dict(labels), join(them)) for (sample, labels), them in values[name].items()
        ]
    registry = CollectorRegistry()
    registry.register(_These(families.values()))
    return generate_latest(registry)


class _These(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
