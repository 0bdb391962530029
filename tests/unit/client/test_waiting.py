"""Waiting for the end of a transaction: what is said where it does not come in time (PROTOCOL §3)."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from coordinator.client import Ongoing, Unreachable
from coordinator.client.transport.coordinator import Coordinator
from coordinator.client.transport.waiting import until_final

RUNNING = {
    "transaction": {"gid": "g1", "trans_type": "saga", "status": "submitted", "create_time": None},
    "branches": [],
}


class Answers:
    """A coordinator that answers so often, and then not any more."""

    def __init__(self, times: int) -> None:
        self._left = times

    async def query(self, gid: str, *, seconds_max: float) -> Mapping[str, Any]:
        self._left -= 1
        if self._left < 0:
            raise Unreachable("no answer in time", gid=gid)
        return RUNNING


async def test_a_last_question_without_time_for_an_answer_changes_nothing_of_what_is_known() -> None:
    with pytest.raises(Ongoing, match=r"transaction g1 is submitted after 0\.5 s"):
        await until_final(cast(Coordinator, Answers(2)), "g1", 0.5)


async def test_nobody_who_answers_is_told_as_that() -> None:
    with pytest.raises(Unreachable):
        await until_final(cast(Coordinator, Answers(0)), "g1", 0.5)
    with pytest.raises(Unreachable):
        await until_final(cast(Coordinator, Answers(1)), "g1", 30.0)  # there was time enough
