"""When a change may be applied (PROTOCOL §9)."""

import pytest

from coordinator.model import Status
from coordinator.store.base import Assign, Change
from coordinator.store.fence import Verdict, verdict

SUBMITTED, SUCCEED = Status.SUBMITTED, Status.SUCCEED
RESULT = Change("g", frozenset({SUBMITTED}), "me")
FINISH = Change("g", frozenset({SUBMITTED}), "me", assign=Assign(status=SUCCEED, owner=""))
ABORT = Change("g", frozenset({SUBMITTED}), "me", assign=Assign(status=Status.ABORTING))
SUBMIT = Change("g", frozenset({Status.PREPARED}), None, assign=Assign(status=SUBMITTED, owner="me"))
FORCE = Change("g", frozenset({SUBMITTED}), None, assign=Assign(status=Status.FAILED, owner=""))
RELEASE = Change("g", frozenset({SUBMITTED}), "me", assign=Assign(owner=""))
RENEW = Change("g", frozenset({SUBMITTED}), "me", assign=Assign(owner="me"))


@pytest.mark.parametrize(
    ("change", "status", "owner", "expected"),
    [
        (RESULT, "submitted", "me", Verdict.APPLY),
        (RESULT, "submitted", "other", Verdict.REFUSE),
        (RESULT, "submitted", "ME", Verdict.REFUSE),
        (RESULT, "submitted", "", Verdict.REFUSE),
        (RESULT, "aborting", "me", Verdict.REFUSE),
        (FINISH, "submitted", "me", Verdict.APPLY),
        (FINISH, "succeed", "", Verdict.STANDS),
        (FINISH, "succeed", "other", Verdict.REFUSE),
        (FINISH, "failed", "", Verdict.REFUSE),
        (ABORT, "submitted", "me", Verdict.APPLY),
        (ABORT, "aborting", "me", Verdict.STANDS),
        (ABORT, "aborting", "other", Verdict.REFUSE),
        (SUBMIT, "prepared", "whoever", Verdict.APPLY),
        (SUBMIT, "submitted", "me", Verdict.STANDS),
        (SUBMIT, "submitted", "other", Verdict.REFUSE),
        (SUBMIT, "succeed", "", Verdict.REFUSE),
        (FORCE, "submitted", "other", Verdict.APPLY),
        (FORCE, "failed", "", Verdict.STANDS),
        (FORCE, "succeed", "", Verdict.REFUSE),
        (RELEASE, "submitted", "me", Verdict.APPLY),
        (
            RELEASE,
            "submitted",
            "",
            Verdict.REFUSE,
        ),  # perhaps another's release: this one's results are not there
        (RENEW, "submitted", "me", Verdict.APPLY),
        (RENEW, "submitted", "other", Verdict.REFUSE),
        (RESULT, "a status of nobody", "me", Verdict.REFUSE),
    ],
)
def test_verdict(change: Change, status: str, owner: str, expected: Verdict) -> None:
    assert verdict(change, status, owner) is expected
