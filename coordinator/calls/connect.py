"""The one way to a branch, whatever the protocol: its address looked up, judged, and connected to itself."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from aiohappyeyeballs import AddrInfoType, remove_addr_infos, start_connection

from coordinator.calls.places import Places, Refused
from coordinator.discovery.names import Names
from coordinator.tls import ClientTls, TlsFiles

NEXT_SECONDS: Final = 0.25  # after which the next address is tried beside one that does not answer

_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)
_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class CannotResolve(OSError):
    """The host has no address, or nobody says which."""


class Reach:
    """Connects to hosts. names: looks them up; its owner closes it. places: judges where calls may go.

    tls: what encrypted connections are made with; None: what the system trusts.
    What was judged is what is connected to: a name that leads elsewhere a moment later changes nothing.
    """

    def __init__(self, names: Names, places: Places, tls: ClientTls | None = None) -> None:
        self._names = names
        self._places = places
        self._tls = tls or ClientTls(TlsFiles(), "branches")

    async def connect(
        self,
        make_protocol: Callable[[], _Protocol],
        host: str,
        port: int,
        *,
        turn: int = 0,
        known_as: str = "",
        encrypts: str = "",
        certificate_of: str = "",
    ) -> _Protocol:
        """Connect to one of the host's addresses.

        turn: which of them is tried first, modulo their number. known_as: the host that the client asked
        for, where that is another. encrypts: what is spoken inside TLS, `h2` or `http/1.1`; empty: no TLS.
        certificate_of: whose certificate has to be shown then; empty: the host's that was asked for.
        Raises CannotResolve, Refused where no branch may be called, and other kinds of OSError.
        """
        try:
            addresses = await self._names.addresses(host)
        except OSError as error:
            raise CannotResolve(error.strerror or str(error)) from error
        asked = known_as or host
        allowed = self._allowed(asked, addresses, port)
        first = turn % len(allowed)
        return await connect(
            make_protocol,
            allowed[first:] + allowed[:first],
            port,
            tls=self._tls.context(encrypts) if encrypts else None,
            server_name=(certificate_of or asked).rstrip(".") if encrypts else None,
        )

    def _allowed(self, host: str, addresses: tuple[str, ...], port: int) -> tuple[str, ...]:
        problems = [self._places.problem(host, address, port) for address in addresses]
        if not any(problems):
            return addresses
        allowed = tuple(address for address, problem in zip(addresses, problems, strict=True) if not problem)
        if not allowed:
            raise Refused(problems[0])
        return allowed


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
