"""PROTOCOL §9: who drives a row is told by its owner."""

import pytest

from coordinator.owner import is_a_drivers, prefix_of


@pytest.mark.parametrize(
    ("owner", "driven"),
    [
        (f"{prefix_of('a', '1')}7", True),
        ("", False),  # let go, or prepared
        ("FnQb7fiKPSG8DjVrqKgSAb", False),  # left behind by a Go server
    ],
)
def test_a_drivers_owner_is_known_by_its_form(owner: str, driven: bool) -> None:
    assert is_a_drivers(owner) is driven


def test_an_instance_knows_its_own_tokens_by_how_they_begin() -> None:
    token = f"{prefix_of('a', '2')}7"
    assert token == "a/2/7"
    assert token.startswith(prefix_of("a"))
    assert not token.startswith(prefix_of("a", "1"))
    assert not "ab/1/1".startswith(prefix_of("a"))
