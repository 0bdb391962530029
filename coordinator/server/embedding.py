"""What makes a coordinator that is inside of another program different."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from coordinator.calls.base import Caller
from coordinator.watching.readiness import Readiness


@dataclass(frozen=True, slots=True)
class Embedding:
    """functions: names of those that can be called as `local://name`. caller: around the one for all others.

    readiness: is told what is wrong. listens: whether HTTP is answered at a port, pages and all; gRPC never
    is.
    """

    functions: Collection[str]
    caller: Callable[[Caller], Caller]
    readiness: Readiness
    listens: bool
