"""Which addresses and names are this machine's own. Sends nothing, asks nobody."""

import socket
from typing import Final

from coordinator.discovery.place_rules import plain_address

_FOREIGN: Final = {
    socket.AF_INET: "192.0.2.1",
    socket.AF_INET6: "2001:db8::1",
}  # of no machine (RFC 5737, 3849)
_ANY_PORT: Final = 9  # nothing is sent to it


def is_of_this_machine(address: str) -> bool:
    """Whether connections to the address stay on this machine."""
    ip = plain_address(address)
    if ip.is_loopback or ip.is_unspecified:
        return True
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    if not _can_bind(family, address):
        return False
    # Machines that take over each other's addresses may bind to any.
    return not _can_bind(family, _FOREIGN[family]) or _source_to(family, address) == address


def names_of_this_machine() -> tuple[str, ...]:
    """What it calls itself."""
    return ("localhost", "ip6-localhost", "ip6-loopback", "localhost.localdomain", socket.gethostname())


def _can_bind(family: socket.AddressFamily, address: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _source_to(family: socket.AddressFamily, address: str) -> str:
    """The address that packets to that one would come from."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, _ANY_PORT))
            return str(probe.getsockname()[0])
    except OSError:
        return ""
