"""How an address is reached, by every protocol."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from aiohappyeyeballs import AddrInfoType, remove_addr_infos, start_connection

NEXT_SECONDS: Final = 0.25  # after which the next address is tried beside one that does not answer

_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)
_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


async def connect(
    make_protocol: Callable[[], _Protocol],
    addresses: Sequence[str],
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
) -> _Protocol:
    """Connect to the address that takes it first; each gets a head start before the next (RFC 8305).

    One with which TLS fails is left out, and the others are tried. addresses: at least one. server_name: what
    the certificate must be of, with tls. Raises OSError.
    """
    loop = asyncio.get_running_loop()
    if len(addresses) == 1:
        _, protocol = await loop.create_connection(
            make_protocol, addresses[0], port, ssl=tls, server_hostname=server_name
        )
        return protocol
    left = [_numeric(address, port) for address in addresses]
    failed: OSError | None = None
    while left:
        try:
            connected = await start_connection(left, happy_eyeballs_delay=NEXT_SECONDS, loop=loop)
        except (OSError, RuntimeError) as error:  # uvloop's are RuntimeError, too
            raise failed or OSError(*error.args) from error
        try:
            peer = connected.getpeername()
        except OSError:  # reset already
            connected.close()
            raise
        try:
            _, protocol = await loop.create_connection(
                make_protocol, sock=connected, ssl=tls, server_hostname=server_name
            )
        except OSError as error:
            connected.close()
            failed = failed or error  # what one that was reached says tells more than that others were not
            remove_addr_infos(left, peer)
        except BaseException:
            connected.close()
            raise
        else:
            return protocol
    assert failed is not None
    raise failed


def _numeric(address: str, port: int) -> AddrInfoType:
    return socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=_NUMERIC
    )[0]
