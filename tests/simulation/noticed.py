"""Whether what was broken on purpose is noticed."""

import pytest

from tests.simulation.history import run_history

_HISTORIES = 150


def assert_noticed(text: str, *, trans_types: str) -> None:
    """Assert that one of many histories breaks a promise, and says so with this text (a pattern)."""
    with pytest.raises(AssertionError, match=text):
        for number in range(_HISTORIES):
            run_history(number, trans_types=trans_types)
