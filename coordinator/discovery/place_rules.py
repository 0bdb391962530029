"""Which hosts and networks are meant, as an operator lists them: `*.svc.cluster.local, 10.0.0.0/8`. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_GLOB: Final = re.compile(r"[a-z0-9*_.-]+")
_ADDRESS_GLOB: Final = re.compile(r"[0-9*.]*[0-9][0-9*.]*")
_NAT64: Final = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))


@dataclass(frozen=True, slots=True)
class PlaceRule:
    """One entry: hosts by name, where `*` stands for anything, or a network; of one port, or of every one."""

    text: str  # as written
    glob: "re.Pattern[str] | None" = None
    network: Network | None = None
    port: int | None = None

    def names(self, host: str, port: int) -> bool:
        """Whether the host is meant by its name. host: as asked for, in lower case, no dot at its end."""
        return self.glob is not None and self._is_port(port) and self.glob.fullmatch(host) is not None

    def holds(self, address: Address, port: int) -> bool:
        """Whether the address is in the network."""
        return self.network is not None and self._is_port(port) and address in self.network

    def _is_port(self, port: int) -> bool:
        return self.port is None or self.port == port


def parse_place_rules(text: str) -> tuple[PlaceRule, ...]:
    """Read entries that commas or blanks separate.

    Each is a host name in which `*` may stand for anything, an address or a network, and may have a port:
    `*.shop.example`, `10.0.0.0/8`, `localhost:8080`, `[fd00::/8]:443`. Raises ValueError, a sentence.
    """
    return tuple(map(_parsed, text.replace(",", " ").split()))


def rule_of(host: str, port: int) -> PlaceRule:
    """The rule that names this host alone. host: as a url has it, an address without brackets."""
    try:
        return PlaceRule(host, network=ip_network(plain_address(host)), port=port)
    except ValueError:
        return PlaceRule(host, glob=re.compile(re.escape(host.lower().removesuffix("."))), port=port)


def _parsed(text: str) -> PlaceRule:
    place, port = _apart_from_port(text)
    if "/" in place or ":" in place or place.replace(".", "").isdigit():
        try:
            network = ip_network(place, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is no address and no network") from None
        if "/" in place and network.network_address != ip_address(place.partition("/")[0]):
            raise ValueError(
                f"{text!r} begins within the network {network}: write that, or the address alone"
            )
        return PlaceRule(text, network=network, port=port)
    name = place.lower().removesuffix(".")
    if _ADDRESS_GLOB.fullmatch(name):  # it would not hold where a name leads to such an address
        raise ValueError(f"{text!r} is no host name; write a network, such as 10.0.0.0/8")
    if not _GLOB.fullmatch(name):
        raise ValueError(f"{text!r} is no host name, address or network")
    glob = re.compile(".*".join(map(re.escape, name.split("*"))))
    return PlaceRule(text, glob=glob, port=port)


def _apart_from_port(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        place, _, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        if rest and colon != ":":
            raise ValueError(f"{text!r} has something behind its bracket that is no port")
    elif text.count(":") > 1:  # IPv6 without a port
        return text, None
    else:
        place, colon, port = text.partition(":")
    if not colon:
        return place, None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} has {port!r} for a port")
    return place, int(port)


def plain_address(text: str) -> Address:
    """Read an address; what it says of an interface goes. Raises ValueError."""
    return ip_address(text.partition("%")[0])


def meanings_of(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 address that it is another way to write of."""
    yield address
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if any(address in network for network in _NAT64):
        yield IPv4Address(int(address) & 0xFFFFFFFF)


def forms_of(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 addresses that packets to it are, or may be, brought to in the end."""
    yield from meanings_of(address)
    if isinstance(address, IPv6Address):
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield from address.teredo
