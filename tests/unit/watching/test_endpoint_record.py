"""How calls to an endpoint went lately, kept in windows of fixed size."""

import pytest

from coordinator.model import Result
from coordinator.watching.endpoint_record import ENDPOINTS_MAX, LATELY_SECONDS, EndpointRecord


class Hand:
    """A clock that is moved by hand."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def record_of(clock: Hand, *calls: tuple[Result, float], endpoint: str = "http://bank:80") -> EndpointRecord:
    record = EndpointRecord(clock)
    for result, seconds in calls:
        record.took(endpoint, result, seconds, clock.seconds)
    return record


def test_results_and_times_of_the_last_minutes() -> None:
    slow, quick = (Result.UNKNOWN, 3.0), (Result.SUCCESS, 0.010)
    lately = record_of(Hand(), *[quick] * 90, *[(Result.FAILURE, 0.1)] * 8, *[slow] * 2).lately(
        "http://bank:80"
    )
    assert lately is not None
    assert (lately.calls, lately.success_rate) == (100, 0.9)
    assert lately.by_result[Result.FAILURE] == 8
    assert lately.median == pytest.approx(0.010, rel=0.25)
    assert lately.p99 == pytest.approx(3.0, rel=0.25)


def test_of_an_endpoint_that_was_not_called_nothing_is_known() -> None:
    assert record_of(Hand()).lately("http://bank:80") is None


def test_what_is_older_than_some_minutes_is_forgotten() -> None:
    clock = Hand()
    record = record_of(clock, (Result.UNKNOWN, 1.0))
    clock.seconds += LATELY_SECONDS / 2
    record.took("http://bank:80", Result.SUCCESS, 0.1, clock.seconds)
    both = record.lately("http://bank:80")
    clock.seconds += LATELY_SECONDS / 2
    last = record.lately("http://bank:80")
    clock.seconds += LATELY_SECONDS
    assert (both and both.calls, last and last.by_result[Result.UNKNOWN]) == (2, 0)
    assert record.lately("http://bank:80") is None
    record.took("http://bank:80", Result.SUCCESS, 0.1, clock.seconds)
    again = record.lately("http://bank:80")
    assert again is not None
    assert again.calls == 1, "a window that is used again begins at nothing"


@pytest.mark.parametrize("seconds", [0.0, 0.0001, 0.02, 1.0, 59.0, 10_000.0])
def test_times_of_any_length_are_counted(seconds: float) -> None:
    lately = record_of(Hand(), (Result.SUCCESS, seconds)).lately("http://bank:80")
    assert lately is not None
    assert seconds > 700 or lately.median >= seconds
    assert lately.median <= max(seconds * 1.25, 0.0005)


def test_no_more_than_so_many_are_remembered_and_the_latest_stay() -> None:
    clock = Hand()
    record = EndpointRecord(clock)
    for number in range(3 * ENDPOINTS_MAX):
        clock.seconds += 1
        record.took(f"http://bank:{number}", Result.SUCCESS, 0.1, clock.seconds)
        record.took("http://busy:80", Result.SUCCESS, 0.1, clock.seconds)
    assert len(record.endpoints()) <= ENDPOINTS_MAX
    assert record.lately("http://busy:80")
    assert record.lately(f"http://bank:{3 * ENDPOINTS_MAX - 1}")
