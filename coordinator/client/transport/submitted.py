"""What submitting a transaction returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from coordinator.client.errors import InvalidUse
from coordinator.client.transport.step_results import Results
from coordinator.model import Options, Status


@dataclass(frozen=True, slots=True)
class Submitted:
    """What `submit` returns (PROTOCOL §5).

    status: SUCCEED when the coordinator was asked to wait for the end, SUBMITTED when it only took the
    transaction. results: what a saga's steps with `keep_result` answered, by their number, counted from 0;
    empty unless the end was waited for.
    """

    gid: str
    status: Status
    results: Mapping[int, bytes] = field(default_factory=dict)

    def result(self, step: int) -> Any:
        """Return what this step answered, decoded from JSON (PROTOCOL §6). Raises InvalidUse without any."""
        if step not in self.results:
            raise InvalidUse(
                f"no result of step {step}: give the step keep_result=True, and the saga wait_result=True",
                gid=self.gid,
            )
        try:
            return orjson.loads(self.results[step])
        except orjson.JSONDecodeError as error:
            raise InvalidUse(
                f"the result of step {step} is no JSON: look at `results`", gid=self.gid
            ) from error


def submitted(gid: str, options: Options, results: Results | None = None) -> Submitted:
    """Return what a submit that came back without an error has reached. results: by branch_id."""
    by_step = {int(name) - 1: content for name, content in (results or {}).items() if name.isdecimal()}
    return Submitted(gid, Status.SUCCEED if options.wait_result else Status.SUBMITTED, by_step)
