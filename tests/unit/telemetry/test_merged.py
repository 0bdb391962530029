from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from coordinator.model import Status
from coordinator.telemetry.merged import merged
from coordinator.telemetry.metrics import Metrics


def exposition(sagas: int, running: float, stored: float, ready: float, endpoint: str) -> bytes:
    metrics = Metrics(CollectorRegistry(), version="1")
    for _ in range(sagas):
        metrics.transaction_ended("saga", Status.SUCCEED, 0.02)
    metrics.gauge("dtm_transactions_running", "", lambda: running)
    metrics.gauge("dtm_transactions", "", lambda: {"submitted": stored}, label="status")
    metrics.gauge("dtm_ready", "", lambda: ready)
    metrics.gauge("dtm_calls_in_flight", "", lambda: {endpoint: 1.0}, label="endpoint")
    return generate_latest(metrics.registry)


def values(text: bytes) -> dict[str, float]:
    return {
        sample.name + str(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_what_each_counts_adds_up_and_what_they_share_does_not() -> None:
    first, second = exposition(3, 2, 70, 1, "http://a:80"), exposition(4, 5, 71, 0, "http://b:80")
    found = values(merged([first, second]))
    assert found["dtm_transaction_process_total[('model', 'saga'), ('status', 'ok')]"] == 7
    assert found["dtm_transaction_handled_duration_count[('model', 'saga')]"] == 7
    assert found["dtm_transaction_handled_duration_bucket[('le', '0.025'), ('model', 'saga')]"] == 7
    assert found["dtm_transactions_running[]"] == 7
    assert found["dtm_transactions[('status', 'submitted')]"] == 71
    assert found["dtm_ready[]"] == 0
    assert found["dtm_calls_in_flight[('endpoint', 'http://a:80')]"] == 1
    assert found["dtm_calls_in_flight[('endpoint', 'http://b:80')]"] == 1


def test_every_name_and_type_is_as_one_alone_has_them() -> None:
    one = exposition(1, 1, 1, 1, "http://a:80")

    def named(text: bytes) -> dict[str, str]:
        return {family.name: family.type for family in text_string_to_metric_families(text.decode())}

    assert named(merged([one, one])) == named(one)
    assert set(values(merged([one, one]))) == {name for name in values(one) if "_created[" not in name}


def test_one_alone_stays_as_it_is() -> None:
    one = exposition(1, 1, 1, 1, "http://a:80")
    assert merged([one]) is one
