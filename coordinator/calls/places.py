"""Where branches may live: judged by the name that is asked for, and by the very address that it leads to."""

import errno
import re
import socket
from collections.abc import Callable, Collection
from functools import lru_cache
from ipaddress import IPv4Address, ip_network
from typing import Final

from coordinator.calls.machine import is_of_this_machine
from coordinator.discovery.place_rules import (
    Address,
    Network,
    PlaceRule,
    forms_of,
    meanings_of,
    parse_place_rules,
    plain_address,
)

_ENDPOINTS_REMEMBERED_MAX: Final = 1024
_LINK_LOCAL: Final = "link-local, where clouds hand out credentials"
_METADATA: Final = "where a cloud hands out credentials"
# Nobody's service lives there, and whoever asks is given the machine's secrets.
_GUARDED: Final[tuple[tuple[Network, str], ...]] = (
    (ip_network("169.254.0.0/16"), _LINK_LOCAL),
    (ip_network("fe80::/10"), _LINK_LOCAL),
    (ip_network("fd00:ec2::/32"), _METADATA),  # AWS
    (ip_network("fd20:ce::254/128"), _METADATA),  # Google
    (ip_network("100.100.100.200/32"), _METADATA),  # Alibaba
    (ip_network("168.63.129.16/32"), _METADATA),  # Azure
    (ip_network("192.0.0.192/32"), _METADATA),  # Oracle
)
_ANYWHERE: Final = parse_place_rules("*")
# The system's resolver reads each part as a number, in hexadecimal and octal too: `0x7f.1`.
_NUMBERS: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}")


class Refused(OSError):
    """No branch may be called there; nothing was sent."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EACCES, why)


class Places:
    """Judges where calls go.

    deny: nowhere there, whatever `allow` says. allow: nowhere else; without an entry, anywhere. Link-local
    and metadata addresses must be named by an address or a network among them, the coordinator itself by its
    address or network with the port. own_places: `(host, port)` at which others find this coordinator.
    is_local: whether an address is this machine's. local_names: what the machine is called.
    """

    def __init__(
        self,
        allow: Collection[PlaceRule] = (),
        deny: Collection[PlaceRule] = (),
        *,
        own_places: Collection[tuple[str, int]] = (),
        is_local: Callable[[str], bool] = is_of_this_machine,
        local_names: Collection[str] = (),
    ) -> None:
        self._allow = tuple(allow)
        self._deny = tuple(deny)
        self._own_places = frozenset((_plain(host), port) for host, port in own_places)
        self._own_ports: set[int] = set()
        self._is_local = is_local
        self._local_names = frozenset(map(_plain, local_names))
        self._judged = lru_cache(_ENDPOINTS_REMEMBERED_MAX)(self._judge_name)
        self._forget: list[Callable[[], None]] = [self._judged.cache_clear]

    def listens_on(self, port: int) -> None:
        """Take note of a port of this coordinator's own."""
        self._own_ports.add(port)
        for forget in self._forget:
            forget()

    def when_changed(self, forget: Callable[[], None]) -> None:
        """Call this whenever what was judged may be judged differently."""
        self._forget.append(forget)

    def allowing(self, rules: Collection[PlaceRule]) -> "Places":
        """The same, and these places too: where the operator's own configuration sends calls."""
        more = Places(
            (*(self._allow or _ANYWHERE), *rules),
            self._deny,
            own_places=self._own_places,
            is_local=self._is_local,
            local_names=self._local_names,
        )
        more._own_ports = self._own_ports
        return more

    def require(self, host: str, address: str, port: int) -> None:
        """Raise Refused unless a call of this host may go to this address. host: as it was asked for."""
        problem = self.problem(host, address, port)
        if problem:
            raise Refused(problem)

    def problem(self, host: str, address: str, port: int) -> str:
        """Why no call of this host may go to this address, as a sentence; empty when it may."""
        name, ip = _plain(host), plain_address(address)
        forms = tuple(forms_of(ip))
        where = str(ip) if name == str(ip) else f"{host} ({ip})"
        for rule in self._deny:
            if rule.names(name, port) or any(rule.holds(form, port) for form in forms):
                return _denied(where, rule)
        for form in forms:
            for network, what in _GUARDED:
                if form in network and not self._names_some(network, form, port):
                    return f"{where} is {what}: Branches.Allow would have to name {form}"
        if self._is_own(name, forms, port) and not self._names_port(forms, port):
            return f"{_own(where, port)}: Branches.Allow would have to name {_endpoint(ip, port)}"
        if not self._allow or any(
            rule.names(name, port) or any(rule.holds(one, port) for one in meanings_of(ip))
            for rule in self._allow
        ):
            return ""
        return _not_allowed(where)

    def problem_of_name(self, host: str, port: int) -> str:
        """The same, as far as it can be said before anybody is asked for the host's address. Remembered."""
        return self._judged(host, port)

    def _judge_name(self, host: str, port: int) -> str:
        name = _plain(host)
        address = _address_in(name)
        if address:
            return self.problem(host, address, port)
        for rule in self._deny:
            if rule.names(name, port):
                return _denied(host, rule)
        decides_later = any(rule.network is not None for rule in self._allow if rule.port in {None, port})
        is_own = (name, port) in self._own_places or (name in self._local_names and port in self._own_ports)
        if is_own and not any(rule.network is not None and rule.port == port for rule in self._allow):
            return f"{_own(host, port)}: Branches.Allow would have to name its address, and {port}"
        if not self._allow or decides_later or any(rule.names(name, port) for rule in self._allow):
            return ""
        return _not_allowed(host)

    def _is_own(self, name: str, forms: Collection[Address], port: int) -> bool:
        if (name, port) in self._own_places or any((str(form), port) in self._own_places for form in forms):
            return True
        return port in self._own_ports and any(self._is_local(str(form)) for form in forms)

    def _names_port(self, forms: Collection[Address], port: int) -> bool:
        return any(rule.port == port and rule.holds(form, port) for rule in self._allow for form in forms)

    def _names_some(self, guarded: Network, form: Address, port: int) -> bool:
        """Whether an entry that is no wider than what is guarded holds the address."""
        return any(
            rule.network is not None
            and rule.network.prefixlen >= guarded.prefixlen
            and rule.holds(form, port)
            for rule in self._allow
        )


def _plain(host: str) -> str:
    return host.lower().removesuffix(".")


def _address_in(name: str) -> str:
    """The address that the host is, in any way of writing it; empty for a name."""
    try:
        return str(plain_address(name))
    except ValueError:
        pass
    if not _NUMBERS.fullmatch(name):
        return ""
    try:
        return str(IPv4Address(socket.inet_aton(name)))
    except OSError:
        return ""


def _endpoint(ip: Address, port: int) -> str:
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def _denied(where: str, rule: PlaceRule) -> str:
    return f"{where} is denied by Branches.Deny: {rule.text}"


def _own(where: str, port: int) -> str:
    return f"{where} at {port} is this coordinator itself"


def _not_allowed(where: str) -> str:
    return f"{where} is not in Branches.Allow"
