"""go-zero on either side of the coordinator, everything found through etcd."""

import pytest

from tests.interop.conftest import GoZero

pytestmark = pytest.mark.timeout(600)  # the Go program may have to be built from nothing


@pytest.mark.parametrize("number", [0, 1], ids=["its service as a branch", "its api in front"])
def test_go_zero_works_as_it_is(number: int, go_zero: GoZero) -> None:
    line = go_zero()[number]
    assert line.result == "passed", str(line)
