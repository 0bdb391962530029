"""No registry: nothing is registered, and a target is its own endpoint."""

from collections.abc import Sequence


class NoRegistration:
    """The registration of a coordinator that is in no registry; its methods do nothing."""

    is_wanted = False
    is_registered = False

    async def start(self) -> None:
        """Nothing."""

    async def stop(self) -> None:
        """Nothing."""


class PlainResolver:
    """Takes `host:port` for what it is; the name is looked up when a connection is made."""

    async def endpoints(self, target: str) -> Sequence[str]:
        """Return the target itself."""
        return (target,)

    async def close(self) -> None:
        """Nothing."""
