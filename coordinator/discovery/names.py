"""Host names to addresses: the one place that asks the system, for HTTP and gRPC alike.

Look-ups block, so each runs in a thread of its own. One host is looked up once at a time whoever waits for
it, so a name server that does not answer for one host holds up that host alone; threads are bounded.
"""

import asyncio
import errno
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

FRESH_SECONDS: Final = 10.0  # how long an address is believed without asking again
PATIENCE_SECONDS: Final = 1.0  # how long a new answer is waited for while an older one is known
LOOKUPS_MAX: Final = 64  # threads at a time; a look-up beyond them queues
HOSTS_MAX: Final = 1000  # remembered; the one asked for least recently goes first

# That a name does not exist is an answer; everything else says nothing of the name.
_NO_ADDRESS: Final = socket.EAI_NONAME
_NO_SUCH_NAME: Final = frozenset({_NO_ADDRESS, getattr(socket, "EAI_NODATA", _NO_ADDRESS)})

LookUp = Callable[[str], Sequence[str]]


@dataclass(slots=True)
class _Known:
    """What is known of a host."""

    addresses: tuple[str, ...]
    fresh_until: float  # seconds of the loop's clock


class Names:
    """Finds the addresses of hosts, for one event loop.

    look_up: blocks; returns a host's addresses, raises OSError or UnicodeError. fresh_seconds: how long an
    answer is believed. patience_seconds: how long one that is older stands back for a new one.
    """

    def __init__(
        self,
        *,
        look_up: LookUp | None = None,
        fresh_seconds: float = FRESH_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        lookups_max: int = LOOKUPS_MAX,
    ) -> None:
        self._look_up = look_up or system_look_up
        self._fresh_seconds = fresh_seconds
        self._patience_seconds = patience_seconds
        self._free = asyncio.Semaphore(lookups_max)
        self._known: OrderedDict[str, _Known] = OrderedDict()  # asked for least recently first
        self._running: dict[str, asyncio.Task[tuple[str, ...]]] = {}

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Return the host's IP addresses, at least one; the order is stable while they do not change.

        When no name server answers, those that were known last. Raises OSError: no such host, or nobody
        to ask.
        """
        if _is_address(host):
            return (host,)
        known = self._known.get(host)
        if known is None:
            return await asyncio.shield(self._asked(host))
        self._known.move_to_end(host)
        if known.fresh_until > asyncio.get_running_loop().time():
            return known.addresses
        task = self._running.get(host)
        if task is None:  # only who asks first waits: a server that is away delays one call, not all
            task = self._asked(host)
            await asyncio.wait([task], timeout=self._patience_seconds)
        if task.done() and not task.cancelled():
            return task.result()
        return known.addresses

    async def close(self) -> None:
        """End all look-ups. Threads that still wait for a name server end by themselves."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _asked(self, host: str) -> "asyncio.Task[tuple[str, ...]]":
        task = self._running.get(host)
        if task is None:
            task = self._running[host] = asyncio.create_task(self._ask(host), name=f"look up {host}")
            task.add_done_callback(lambda ended: self._ended(host, ended))
        return task

    def _ended(self, host: str, task: "asyncio.Task[tuple[str, ...]]") -> None:
        self._running.pop(host, None)
        if not task.cancelled():
            task.exception()  # whoever waits gets it; with nobody left it is of no interest

    async def _ask(self, host: str) -> tuple[str, ...]:
        loop = asyncio.get_running_loop()
        async with self._free:
            answer: asyncio.Future[tuple[str, ...]] = loop.create_future()
            thread = threading.Thread(
                target=_block, args=(self._look_up, host, loop, answer), name="look-up", daemon=True
            )
            try:
                _start(thread)
                found = await answer
            except OSError as error:
                return self._last_known(host, error, loop.time())
        return self._learn(host, found, loop.time())

    def _learn(self, host: str, found: tuple[str, ...], now: float) -> tuple[str, ...]:
        known = self._known.get(host)
        if known is not None and set(known.addresses) == set(found):
            found = known.addresses  # name servers shuffle
        self._known[host] = _Known(found, now + self._fresh_seconds)
        self._known.move_to_end(host)
        while len(self._known) > HOSTS_MAX:
            self._known.popitem(last=False)
        return found

    def _last_known(self, host: str, error: OSError, now: float) -> tuple[str, ...]:
        known = self._known.get(host)
        if known is None:
            raise error
        if error.errno in _NO_SUCH_NAME:
            del self._known[host]
            raise error
        known.fresh_until = now + self._fresh_seconds  # asked again then, not by every call
        return known.addresses


def _start(thread: threading.Thread) -> None:
    """Raises OSError when the system gives no further thread."""
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from error


def _block(
    look_up: LookUp, host: str, loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[tuple[str, ...]]"
) -> None:
    """In a thread: look up, and hand the result to the loop."""
    found: tuple[str, ...] | OSError
    try:
        found = tuple(dict.fromkeys(look_up(host))) or socket.gaierror(_NO_ADDRESS, "no address")
    except OSError as error:
        found = error
    except UnicodeError as error:  # a label that is empty or too long for any name server
        found = socket.gaierror(_NO_ADDRESS, str(error))
    with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
        loop.call_soon_threadsafe(_settle, answer, found)


def _settle(answer: "asyncio.Future[tuple[str, ...]]", found: tuple[str, ...] | OSError) -> None:
    if answer.done():  # the look-up was broken off
        return
    if isinstance(found, OSError):
        answer.set_exception(found)
    else:
        answer.set_result(found)


def system_look_up(host: str) -> list[str]:
    """Ask the system for a host's addresses, in the order that it prefers. Blocks. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [_numeric(address) for _, _, _, _, address in found]


def _numeric(address: tuple[object, ...]) -> str:
    host = str(address[0])
    if len(address) == 4 and address[3] and "%" not in host:  # link-local: of no use without its interface
        return f"{host}%{address[3]}"
    return host


def _is_address(host: str) -> bool:
    if not (":" in host or host[-1:].isdigit()):
        return False
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
