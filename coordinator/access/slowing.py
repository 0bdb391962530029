"""Attempts to log in are slowed, by account and by address; nobody is locked out. Pure.

An attempt that fails leaves a mark at its account and at its address, and marks fade one after the other. Up
to so many, attempts are free; with more, each waits until it would be free, and one that would wait too long
is told when to come again. Two things keep strangers from shutting somebody out who has the password: from an
address at which the account was logged in to, other addresses' attempts do not count; and who comes from an
address without marks may wait longer than those that have some, so that the queue has room for them.
"""

import ipaddress
from dataclasses import dataclass
from typing import Final

KEYS_MAX: Final = 10_000  # of each kind; of more, those that were marked longest ago are forgotten
PATIENCE_SECONDS: Final = 8.0  # that an attempt waits, at most, from an address with marks
_FRESH_PATIENCE_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class _Pace:
    """free: attempts before any waits. seconds: in which one mark fades."""

    free: int
    seconds: float


_ACCOUNT: Final = _Pace(8, 4.0)
_ADDRESS: Final = _Pace(30, 1.0)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One that may go on after `wait` seconds; where that is None, come again in `again` seconds."""

    wait: float | None
    again: float = 0.0


class _Marks:
    """When the marks of each key will have faded, all of them: seconds, monotonic."""

    def __init__(self, pace: _Pace) -> None:
        self._pace = pace
        self._faded_at: dict[str, float] = {}  # marked longest ago first

    def wait(self, key: str, now: float) -> float:
        """Seconds until the next attempt would be free."""
        faded = self._faded_at.get(key, now)
        return max(0.0, faded - (self._pace.free - 1) * self._pace.seconds - now)

    def has_any(self, key: str, now: float) -> bool:
        return self._faded_at.get(key, now) > now

    def add(self, key: str, now: float) -> None:
        faded = max(self._faded_at.pop(key, now), now)
        self._faded_at[key] = faded + self._pace.seconds
        if len(self._faded_at) > KEYS_MAX:
            del self._faded_at[next(iter(self._faded_at))]

    def take_back(self, key: str) -> None:
        if key in self._faded_at:
            self._faded_at[key] -= self._pace.seconds


class Slowing:
    """Times are seconds, monotonic, handed in. An address is a computer's or its network's."""

    def __init__(self) -> None:
        self._accounts = _Marks(_ACCOUNT)  # by strangers
        self._familiar = _Marks(_ACCOUNT)  # of an account, from an address at which it was logged in to
        self._addresses = _Marks(_ADDRESS)
        self._known: dict[str, None] = {}  # account and address, seen longest ago first

    def attempt(self, account: str, address: str, now: float) -> Attempt:
        """What becomes of one that comes now; it counts as one that failed until `succeeded` is told."""
        marks, key = self._of_account(account, address)
        is_fresh = not self._addresses.has_any(address, now)
        wait = max(marks.wait(key, now), self._addresses.wait(address, now))
        if wait > (_FRESH_PATIENCE_SECONDS if is_fresh else PATIENCE_SECONDS):
            return Attempt(None, wait)
        marks.add(key, now)
        self._addresses.add(address, now)
        return Attempt(wait)

    def succeeded(self, account: str, address: str) -> None:
        """Take the marks of that attempt back, and know the address."""
        marks, key = self._of_account(account, address)
        marks.take_back(key)
        self._addresses.take_back(address)
        self._known.pop(_pair(account, address), None)
        self._known[_pair(account, address)] = None
        if len(self._known) > KEYS_MAX:
            del self._known[next(iter(self._known))]

    def _of_account(self, account: str, address: str) -> tuple[_Marks, str]:
        pair = _pair(account, address)
        return (self._familiar, pair) if pair in self._known else (self._accounts, account)


def network_of(address: str) -> str:
    """What an address is slowed as: of IPv6 the network of 64 bits, in which one computer has them all."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    if found.version == 4:
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))


def _pair(account: str, address: str) -> str:
    return f"{address} {account}"
