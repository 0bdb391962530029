"""Services whose instances are the addresses of a host name: `dns:///user.svc:8080` (PROTOCOL §10)."""

from collections.abc import Sequence

from coordinator.discovery.base import DiscoveryError
from coordinator.discovery.names import Names
from coordinator.discovery.target import host_and_port, parse_target


class DnsResolver:
    """Asks for the addresses behind a name.

    names: looks hosts up and remembers them; its owner closes it. None: one of its own.
    """

    def __init__(self, names: Names | None = None) -> None:
        self._is_owner = names is None
        self._names = names or Names()

    async def endpoints(self, target: str) -> Sequence[str]:
        """Return `address:port` of every address of the target's hosts."""
        found: dict[str, None] = {}
        problem = ""
        for host, port in map(host_and_port, parse_target(target).hosts):
            try:
                addresses = await self._names.addresses(host)
            except OSError as error:
                problem = f"{host} cannot be resolved ({error.strerror or error})"
                continue
            found |= dict.fromkeys(
                f"[{each}]:{port}" if ":" in each else f"{each}:{port}" for each in addresses
            )
        if not found:
            raise DiscoveryError(f"{target}: {problem}")
        return tuple(found)

    async def close(self) -> None:
        """End the look-ups, unless somebody else owns them."""
        if self._is_owner:
            await self._names.close()
