"""What operators are shown of what is stuck."""

from datetime import UTC

import pytest

from coordinator.api.render_operate import OperateRenderer
from coordinator.attempt import Kind, fingerprint
from coordinator.explain.why import code_of
from tests.support.attempts import stuck


@pytest.mark.parametrize(
    ("kind", "status", "text", "code"),
    [
        (Kind.STATUS, 422, "poison", "W17"),
        (Kind.STATUS, 404, "", "W14"),
        (Kind.STATUS, 500, "500: out of order", "W15"),
        (Kind.STATUS, 14, "away", "W15"),
        (Kind.FAILURE, 409, "no money", "W22"),
        (Kind.TIMEOUT, None, "no answer within 3 s", "W12"),
        (Kind.BROKEN, None, "reset 104: by peer", "W19"),
    ],
)
def test_what_is_stuck_has_the_code_of_its_latest_attempt(
    kind: Kind, status: int | None, text: str, code: str
) -> None:
    it = stuck("g", kind=kind, fingerprint=fingerprint(kind, status, text, "g"))
    assert it.answered == status
    assert OperateRenderer(UTC).stuck(it)["code"] == code_of(kind, status) == code
