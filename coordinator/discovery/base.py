"""What the coordinator asks of service discovery: be found, and find (PROTOCOL §11)."""

import ssl
from collections.abc import Callable, Sequence
from typing import Protocol

from coordinator.errors import DtmError

MakeContext = Callable[[], ssl.SSLContext]  # as the certificates are now


class DiscoveryError(DtmError):
    """A service cannot be found now; asking again later may help."""

    grpc_status = 14  # UNAVAILABLE


class MayReach(Protocol):
    """Judges where connections may go."""

    def __call__(self, host: str, address: str, port: int) -> None:
        """Raise OSError unless one may be made to this address. host: as it was asked for."""
        ...


class Registration(Protocol):
    """The coordinator's own entry in a registry."""

    @property
    def is_wanted(self) -> bool:
        """Whether there is to be an entry at all."""
        ...

    @property
    def is_registered(self) -> bool:
        """True while the entry stands, as far as is known."""
        ...

    async def start(self) -> None:
        """Begin to register, in the background; a registry that is away is retried, never an error."""
        ...

    async def stop(self) -> None:
        """Take the entry back, in bounded time. Nothing if never started."""
        ...


class Resolver(Protocol):
    """Finds the endpoints of a service."""

    async def endpoints(self, target: str) -> Sequence[str]:
        """Return the `host:port` of every instance, at least one; the order is stable while nothing changes.

        target: as `discovery.target` writes it. Raises DiscoveryError with a sentence for people.
        """
        ...

    async def close(self) -> None:
        """End watches and connections."""
        ...
