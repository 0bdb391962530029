"""What is asked of the engine before a request is read, and how a refusal says when to come again."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, TypeVar

from coordinator.api.branch_header import branch_header
from coordinator.errors import Busy, DtmError

Request = TypeVar("Request")
Who = TypeVar("Who")
Answer = TypeVar("Answer")

# Calls that begin a transaction, by name: whether it is driven at once. What belongs to one that was accepted
# is never refused here.
BEGINS: Final[Mapping[str, bool]] = {
    "submit": True,
    "prepare": False,
    "prepareWorkflow": False,
    "Submit": True,
    "Prepare": False,
    "PrepareWorkflow": False,
}


class Pressure(Protocol):
    """What is asked of coordinator.engine.pressure.Pressure."""

    @property
    def is_near_full(self) -> bool:
        """Whether some may be refused soon."""
        ...

    def is_full(self, *, is_driven: bool) -> bool:
        """Whether a request would most likely be refused, whoever asks."""
        ...

    def expect(self) -> None:
        """A request has come that will be asked for when it is read."""
        ...

    def arrived(self) -> None:
        """One that was expected, or another, is about to be asked for."""
        ...

    def ask(self, address: str, is_driven: bool) -> None:
        """Take in a request from there. Raises Busy."""
        ...

    def answered(self) -> None:
        """What was taken in has its answer."""
        ...


def pressed(
    name: str,
    pressure: Pressure | None,
    address_of: Callable[[Request], str],
    answer: Callable[[Request, Who], Awaitable[Answer]],
) -> Callable[[Request, Who], Awaitable[Answer]]:
    """The answer to calls of that name, once the engine takes them in. pressure: None: it takes in all."""
    is_driven = BEGINS.get(name)
    if pressure is None or is_driven is None:
        return answer

    async def answer_if_taken_in(request: Request, who: Who) -> Answer:
        pressure.arrived()
        pressure.ask(address_of(request), is_driven)
        try:
            return await answer(request, who)
        finally:
            pressure.answered()

    return answer_if_taken_in


def headers_of(error: DtmError) -> Mapping[str, str]:
    """What goes with an error over HTTP; a second to wait is said by every 503."""
    if isinstance(error, Busy) and error.seconds > 1:
        return {"Retry-After": str(error.seconds), **branch_header(error)}
    return branch_header(error)


def metadata_of(error: DtmError) -> Mapping[str, str]:
    """The same over gRPC, where clients that repeat calls by themselves heed it."""
    if isinstance(error, Busy):
        return {"grpc-retry-pushback-ms": str(error.seconds * 1000), **branch_header(error)}
    return branch_header(error)
