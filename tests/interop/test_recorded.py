"""The answers of a server of the reference to 104 calls, and ours to the same calls."""

import pytest

from tests.interop.recorded.allowed import ALLOWED
from tests.interop.recorded.replay import Difference, differences, entries
from tests.support.under_test import CoordinatorProcess


@pytest.fixture(scope="module")
def found(coordinator: CoordinatorProcess) -> list[Difference]:
    """Return every difference between the recorded answers and ours."""
    return differences(coordinator.http_url)


def test_no_answer_differs_where_no_rule_allows_it(found: list[Difference]) -> None:
    allowed = {(it.number, it.path) for it in ALLOWED}
    unexplained = [str(it) for it in found if (it.number, it.path) not in allowed]
    assert not unexplained, "\n".join(unexplained)


def test_no_rule_allows_what_does_not_differ(found: list[Difference]) -> None:
    differing = {(it.number, it.path) for it in found}
    stale = [f"{it.number} {it.path}" for it in ALLOWED if (it.number, it.path) not in differing]
    assert not stale, f"these do not differ any more, take them out of allowed.py: {', '.join(stale)}"
    assert len({(it.number, it.path) for it in ALLOWED}) == len(ALLOWED)


def test_all_recorded_calls_were_made() -> None:
    assert [entry["number"] for entry in entries()] == list(range(1, 105))
