"""What the coordinator counts (PROTOCOL §15), in the verbs of the rooms that report it.

Durations are in seconds. Labels are bounded, whatever clients send: see `_BRANCH_IDS`, `_OPS` and `_MODELS`.
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from coordinator.model import Op, Result, Status, TransType
from coordinator.telemetry.gauges import GaugeFamily, Value
from coordinator.telemetry.tally import Count, CountFamily, Spread, SpreadFamily

RESPONSE_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # s
# A transaction that is retried may take hours.
TRANSACTION_BUCKETS: Final = (*RESPONSE_BUCKETS, 30.0, 60.0, 300.0, 1800.0)  # s
BATCH_SIZE_BUCKETS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)  # changes
BATCH_SECONDS_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)  # s

OK: Final = "ok"
FAIL: Final = "fail"
_MODELS: Final[Mapping[str, str]] = {name.value: name.value for name in TransType}
_OPS: Final[Mapping[str, str]] = {name.value: name.value for name in Op} | {"business": "business"}
_BRANCH_IDS: Final[Mapping[str, str]] = {f"{number:02d}": f"{number:02d}" for number in range(21)}  # 00 to 20


class RequestMeter:
    """Counts the requests of one operation over one protocol; look it up once and keep it."""

    __slots__ = ("_fail", "_ok", "_seconds")

    def __init__(self, ok: Count, fail: Count, seconds: Spread) -> None:
        self._ok, self._fail, self._seconds = ok, fail, seconds

    def done(self, ok: bool, seconds: float) -> None:
        """A request was answered: with success or not, after how long."""
        (self._ok if ok else self._fail).value += 1
        self._seconds.observe(seconds)


class _Fixed(Collector):
    """A family that never changes."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


class Metrics:
    """Everything the coordinator counts, registered with the registry that is handed in.

    An observer for three rooms: `request` for the APIs, `transaction_ended` and `branch_called` for the
    engine, `batch_written` for the store. Each costs less than 1 µs; all are for the event loop's thread.
    """

    def __init__(self, registry: CollectorRegistry, *, version: str) -> None:
        self.registry = registry
        self._requests = CountFamily(
            "dtm_server_process",
            "Requests answered, by protocol and operation.",
            ("type", "api", "status"),
        )
        self._responses = SpreadFamily(
            "dtm_server_response_duration", "Seconds to the answer.", RESPONSE_BUCKETS, ("type", "api")
        )
        self._ended = CountFamily(
            "dtm_transaction_process",
            "Transactions that became final: ok succeeded, fail rolled back.",
            ("model", "status"),
        )
        self._handled = SpreadFamily(
            "dtm_transaction_handled_duration",
            "Seconds from a transaction's creation to its end.",
            TRANSACTION_BUCKETS,
            ("model",),
        )
        self._branches = CountFamily(
            "dtm_branch_process", "Branch calls answered.", ("model", "branchid", "branchtype", "status")
        )
        batch_sizes = SpreadFamily(
            "dtm_store_batch_size", "Changes written in one commit.", BATCH_SIZE_BUCKETS
        )
        batch_seconds = SpreadFamily(
            "dtm_store_batch_duration", "Seconds to write one batch.", BATCH_SECONDS_BUCKETS
        )
        batch_bytes = CountFamily("dtm_store_written_bytes", "Bytes of values written to the store.")
        self._batch_size, self._batch_seconds = batch_sizes.child(), batch_seconds.child()
        self._batch_bytes = batch_bytes.child()
        self._calls = SpreadFamily(
            "dtm_branch_call_duration",
            "Seconds that a branch call took, waiting for a place at its endpoint included.",
            RESPONSE_BUCKETS,
            ("model", "result"),
        )
        self._retries = CountFamily("dtm_branch_retries", "Branch calls that are made once more.", ("model",))
        for model in _MODELS:  # from zero on, so that the first ones show as a rise
            self._ended.child(model, OK), self._ended.child(model, FAIL)
            self._retries.child(model)
        self._gauges = GaugeFamily()
        info = GaugeMetricFamily(
            "dtm_server_info", "The coordinator's version.", labels=("version", "python_version")
        )
        info.add_metric((version, platform.python_version()), 1)
        for collector in (
            *(self._requests, self._responses, self._ended, self._handled, self._branches),
            *(self._calls, self._retries),
            *(batch_sizes, batch_seconds, batch_bytes, self._gauges, _Fixed(info)),
        ):
            registry.register(collector)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def request(self, protocol: str, api: str) -> RequestMeter:
        """The meter of an operation; `protocol` is http or grpc, `api` is shown in lower case."""
        name = api.lower()
        return RequestMeter(
            self._requests.child(protocol, name, OK),
            self._requests.child(protocol, name, FAIL),
            self._responses.child(protocol, name),
        )

    def transaction_ended(self, trans_type: str, status: Status, seconds: float) -> None:
        """A transaction became final, `seconds` after its creation."""
        model = _MODELS.get(trans_type, "other")
        self._ended.child(model, OK if status is Status.SUCCEED else FAIL).value += 1
        self._handled.child(model).observe(seconds)

    def ended_totals(self) -> tuple[int, int]:
        """Transactions that became final since the start: succeeded, rolled back."""
        ok, fail = (sum(self._ended.child(model, status).value for model in _MODELS) for status in (OK, FAIL))
        return ok, fail

    def handled_totals(self) -> list[tuple[float, float]]:
        """(upper end in seconds, how many transactions took up to that), the last end infinite."""
        spreads = [self._handled.child(model).buckets() for model in _MODELS]
        return [(float(rows[0][0]), sum(count for _, count in rows)) for rows in zip(*spreads, strict=True)]

    def branch_called(self, trans_type: str, branch_id: str, op: str, ok: bool) -> None:
        """A branch call ended: `ok` when it answered success. Branches after the 20th count as `more`."""
        self._branches.child(
            _MODELS.get(trans_type, "other"),
            _BRANCH_IDS.get(branch_id, "more"),
            _OPS.get(op, "other"),
            OK if ok else FAIL,
        ).value += 1

    def batch_written(self, size: int, bytes: int, seconds: float) -> None:  # noqa: A002 - the room's word
        """The store committed `size` changes of together `bytes` bytes, in `seconds`."""
        self._batch_size.observe(size)
        self._batch_seconds.observe(seconds)
        self._batch_bytes.value += bytes

    def branch_took(self, trans_type: str, result: Result, seconds: float, *, again: bool) -> None:
        """A branch call ended after so long; again: it will be called once more."""
        model = _MODELS.get(trans_type, "other")
        self._calls.child(model, result.value).observe(seconds)
        if again:
            self._retries.child(model).value += 1

    def gauge(self, name: str, help_text: str, read: Callable[[], Value], *, label: str = "") -> None:
        """Show a present value at each scrape; see GaugeFamily.add."""
        self._gauges.add(name, help_text, read, label=label)
