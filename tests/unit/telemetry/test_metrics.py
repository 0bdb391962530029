"""What is counted, under which names and labels (PROTOCOL §15)."""

import pytest
from hypothesis import given
from hypothesis import strategies as some
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from coordinator.model import Result, Status
from coordinator.telemetry.gauges import LABEL_VALUES_MAX, UNUSED_SECONDS, GaugeFamily
from coordinator.telemetry.metrics import Metrics
from coordinator.telemetry.tally import Spread, SpreadFamily


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry(), version="1.2.3")


def lines(metrics: Metrics) -> list[str]:
    return generate_latest(metrics.registry).decode().splitlines()


def test_a_request_is_counted_and_timed(metrics: Metrics) -> None:
    meter = metrics.request("http", "newGid")
    meter.done(True, 0.002)
    meter.done(False, 20.0)
    found = lines(metrics)
    assert 'dtm_server_process_total{api="newgid",status="ok",type="http"} 1.0' in found
    assert 'dtm_server_process_total{api="newgid",status="fail",type="http"} 1.0' in found
    bucket = 'dtm_server_response_duration_bucket{api="newgid",le="%s",type="http"} %s'
    assert bucket % ("0.001", "0.0") in found
    assert bucket % ("0.0025", "1.0") in found
    assert bucket % ("10.0", "1.0") in found
    assert bucket % ("+Inf", "2.0") in found
    assert 'dtm_server_response_duration_sum{api="newgid",type="http"} 20.002' in found


def test_a_transaction_is_counted_at_its_end(metrics: Metrics) -> None:
    metrics.transaction_ended("saga", Status.SUCCEED, 0.1)
    metrics.transaction_ended("saga", Status.FAILED, 4000.0)
    found = lines(metrics)
    assert 'dtm_transaction_process_total{model="saga",status="ok"} 1.0' in found
    assert 'dtm_transaction_process_total{model="saga",status="fail"} 1.0' in found
    assert 'dtm_transaction_handled_duration_count{model="saga"} 2.0' in found


def test_a_branch_call_is_counted(metrics: Metrics) -> None:
    metrics.branch_called("saga", "01", "action", True)
    metrics.branch_called("saga", "01", "action", False)
    counted = 'dtm_branch_process_total{branchid="01",branchtype="action",model="saga",status="%s"} 1.0'
    assert counted % "ok" in lines(metrics)
    assert counted % "fail" in lines(metrics)


def test_labels_are_bounded_whatever_clients_send(metrics: Metrics) -> None:
    for number in range(5000):
        metrics.branch_called(f"type{number}", f"{number:04d}", f"op{number}", True)
        metrics.transaction_ended(f"type{number}", Status.SUCCEED, 1.0)
    metrics.branch_called("saga", "20", "action", True)
    metrics.branch_called("saga", "21", "action", True)
    found = [line for line in lines(metrics) if line.startswith("dtm_branch_process_total")]
    assert found == [
        'dtm_branch_process_total{branchid="more",branchtype="other",model="other",status="ok"} 5000.0',
        'dtm_branch_process_total{branchid="20",branchtype="action",model="saga",status="ok"} 1.0',
        'dtm_branch_process_total{branchid="more",branchtype="action",model="saga",status="ok"} 1.0',
    ]


def test_a_batch_is_counted(metrics: Metrics) -> None:
    metrics.batch_written(size=3, bytes=1000, seconds=0.004)
    found = lines(metrics)
    assert 'dtm_store_batch_size_bucket{le="2.0"} 0.0' in found
    assert 'dtm_store_batch_size_bucket{le="4.0"} 1.0' in found
    assert "dtm_store_batch_size_sum 3.0" in found
    assert 'dtm_store_batch_duration_bucket{le="0.005"} 1.0' in found
    assert "dtm_store_written_bytes_total 1000.0" in found


def test_a_branch_call_is_timed_and_its_repeats_are_counted(metrics: Metrics) -> None:
    metrics.branch_took("saga", Result.SUCCESS, 0.002, again=False)
    metrics.branch_took("saga", Result.UNKNOWN, 3.0, again=True)
    found = lines(metrics)
    assert 'dtm_branch_call_duration_bucket{le="0.0025",model="saga",result="success"} 1.0' in found
    assert 'dtm_branch_call_duration_sum{model="saga",result="unknown"} 3.0' in found
    assert 'dtm_branch_retries_total{model="saga"} 1.0' in found


def test_present_values_are_asked_for_at_each_scrape(metrics: Metrics) -> None:
    running, due = 1, None
    metrics.gauge("dtm_transactions_running", "Now.", lambda: running)
    metrics.gauge("dtm_transactions_due", "Due.", lambda: due)
    metrics.gauge("dtm_transactions", "Some.", lambda: {"submitted": 2, "aborting": 3}, label="status")
    assert "dtm_transactions_running 1.0" in lines(metrics)
    running = 2
    found = lines(metrics)
    assert "dtm_transactions_running 2.0" in found
    assert 'dtm_transactions{status="submitted"} 2.0' in found
    assert 'dtm_transactions{status="aborting"} 3.0' in found
    assert not any(line.startswith("dtm_transactions_due ") for line in found), "not known: not shown"


def test_a_gauge_never_shows_more_than_so_many_label_values(metrics: Metrics) -> None:
    values: dict[str, float] = {}
    metrics.gauge("dtm_calls_in_flight", "Calls.", lambda: values, label="endpoint")
    seen = set()
    for round in range(20):
        values.clear()
        values.update({f"http://h{round}-{number}": 1.0 for number in range(20)})
        seen |= {line for line in lines(metrics) if line.startswith("dtm_calls_in_flight{")}
    endpoints = {line.partition("}")[0] for line in seen}
    assert len(endpoints) == LABEL_VALUES_MAX + 1
    assert 'dtm_calls_in_flight{endpoint="other"} 20.0' in seen


def test_a_label_that_is_not_used_for_minutes_makes_room_for_a_new_one() -> None:
    """Instances of services come and go; the new ones are told by name again."""
    now = 0.0
    family = GaugeFamily(monotonic=lambda: now)
    values: dict[str, float] = {"http://stays": 1.0}
    family.add("calls", "Calls.", lambda: values, label="endpoint")

    def shown() -> set[str]:
        [metric] = family.collect()
        return {sample.labels["endpoint"] for sample in metric.samples}

    values |= {f"http://old-{number}": 1.0 for number in range(LABEL_VALUES_MAX - 1)}
    shown()
    old = set(values) - {"http://stays"}
    for name in old:
        del values[name]
    now = UNUSED_SECONDS - 1
    values["http://new"] = 1.0
    assert shown() == {"http://stays", "other"}, "what was seen a moment ago may come again"
    now = UNUSED_SECONDS
    assert shown() == {"http://stays", "http://new"}


def test_the_server_says_what_it_is(metrics: Metrics) -> None:
    assert any(
        line.startswith("dtm_server_info{") and 'version="1.2.3"' in line and line.endswith("} 1.0")
        for line in lines(metrics)
    )


def test_two_coordinators_in_one_process_do_not_share_numbers() -> None:
    one, other = (Metrics(CollectorRegistry(), version="1") for _ in range(2))
    one.batch_written(1, 1, 1.0)
    assert "dtm_store_written_bytes_total 0.0" in lines(other)


@given(some.lists(some.floats(0, 30), max_size=30))
def test_a_spread_shows_what_prometheus_own_histogram_shows(values: list[float]) -> None:
    bounds = (0.5, 1.0, 2.5, 10.0)
    registry, own_registry = CollectorRegistry(), CollectorRegistry()
    family = SpreadFamily("some_seconds", "Some.", bounds)
    registry.register(family)
    own = Histogram("some_seconds", "Some.", buckets=bounds, registry=own_registry)
    spread = family.child()
    for value in values:
        spread.observe(value)
        own.observe(value)
    theirs = [line for line in generate_latest(own_registry).decode().splitlines() if "created" not in line]
    assert generate_latest(registry).decode().splitlines() == theirs


def test_a_value_on_a_bound_is_in_the_bucket_it_ends() -> None:
    spread = Spread((1.0, 2.0))
    spread.observe(1.0)
    assert spread.buckets() == [("1.0", 1.0), ("2.0", 1.0), ("+Inf", 1.0)]
