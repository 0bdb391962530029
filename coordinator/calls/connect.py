"""How an address is reached, by every protocol: names are looked up and connections made here."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Final, TypeVar

from aiohttp.abc import AbstractResolver, ResolveResult

from coordinator.discovery.names import Names

_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)
_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class HttpNames(AbstractResolver):
    """Names as aiohttp asks for them; several addresses of one host take turns at being the first."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._turn = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the host's addresses. family: not used, all that the system prefers are tried."""
        addresses = await self._names.addresses(host)
        self._turn += 1
        first = self._turn % len(addresses)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=_NUMERIC,
            )
            for address in islice(cycle(addresses), first, first + len(addresses))
        ]

    async def close(self) -> None:
        """Nothing: the owner of the names closes them."""


async def connect(make_protocol: Callable[[], _Protocol], addresses: Sequence[str], port: int) -> _Protocol:
    """Connect to the first of the addresses that takes it. addresses: at least one. Raises OSError."""
    loop = asyncio.get_running_loop()
    for address in addresses[:-1]:
        try:
            _, protocol = await loop.create_connection(make_protocol, address, port)
        except OSError:
            continue
        return protocol
    _, protocol = await loop.create_connection(make_protocol, addresses[-1], port)
    return protocol
