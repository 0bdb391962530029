"""Who is at the other end of a connection."""

import asyncio
from typing import Any


class Peer:
    """What its connection knows. address: empty where there is none."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        address = transport.get_extra_info("peername")
        self.address = str(address[0]) if address else ""

    @property
    def certificate(self) -> Any:
        """As `ssl.SSLObject.getpeercert` says it; None where none was shown."""
        return self._transport.get_extra_info("peercert")
