"""How a function of a program that has its coordinator inside is called (PROTOCOL §10)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from coordinator.client.errors import InvalidUse
from coordinator.client.transport.context import BranchContext


@dataclass(frozen=True, slots=True)
class LocalCall:
    """A call of `local://name`, as its function is given it; `barrier` takes it as a request (PROTOCOL §10).

    What the function returns is success, and the step's result where that is kept. Failure and Ongoing mean
    what they mean of a branch over HTTP; after any other exception it is called again. payload: as the step
    has it. headers: branch_headers, and those of the step.

    Example:
        async def charge(call: LocalCall) -> dict[str, int]:
            order = call.json()
            async with database.lend() as connection:
                await barrier(call, connection).call(lambda it: it.execute(CHARGE, order))
            return {"charged": order["amount"]}
    """

    branch: BranchContext
    payload: bytes
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def gid(self) -> str:
        """The transaction."""
        return self.branch.gid

    @property
    def branch_id(self) -> str:
        """The branch, such as `01`."""
        return self.branch.branch_id

    @property
    def op(self) -> str:
        """What is to be done: action, compensate, try, …"""
        return self.branch.op

    def json(self) -> Any:
        """Return the decoded payload, None for an empty one. Raises InvalidUse for what is no JSON."""
        if not self.payload:
            return None
        try:
            return orjson.loads(self.payload)
        except orjson.JSONDecodeError as error:
            raise InvalidUse(f"the payload is no JSON: {self.payload[:200]!r}", gid=self.gid) from error
