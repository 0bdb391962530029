"""What waits to be written: how much may, which of it makes the next batch, and who waits for room."""

import asyncio
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from coordinator.errors import Busy, DtmError

_TURNS_MAX: Final = 2  # of the loop, while each brings more; by more all wait for one commit, and it for them
_LASTING_SECONDS: Final = 1.0
_FORGOTTEN_SECONDS: Final = 10.0

Work = TypeVar("Work")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class Limits:
    """What is bounded in group commit."""

    writers: int = 2  # batches written at the same time
    patience_seconds: float = 0.05  # without a batch taken, before a second writer helps those that are busy
    batch_items_max: int = 256
    batch_bytes_max: int = 1_000_000
    queue_items_max: int = 10_000  # waiting, beside what is being written
    queue_bytes_max: int = 64_000_000


@dataclass(eq=False, slots=True)
class Item(Generic[Work, Outcome]):
    """One work on its way; a future that is done means that nobody waits for it any more."""

    work: Work
    key: str
    size: int  # bytes, about
    deadline: float  # seconds on the loop's clock
    future: "asyncio.Future[Outcome]"
    delays: int = 0  # how often it was put back
    alone: bool = False  # a batch of its own: it broke the connection before
    trouble: str = ""  # why it was not written
    since: float = 0.0  # seconds on the loop's clock: when it began to wait

    def fail(self, error: DtmError) -> None:
        """Give the error to whoever still waits."""
        if not self.future.done():
            self.future.set_exception(error)


class WaitingLine(Generic[Work, Outcome]):
    """Items in the order they came."""

    def __init__(self) -> None:
        self._items: deque[Item[Work, Outcome]] = deque()
        self.bytes = 0  # of all items
        self._taken_at = 0.0  # the last batch, on the loop's clock
        self._last_wait = 0.0  # of the newest in it
        self._last_count = 0  # how many were in it

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item[Work, Outcome]]:
        return iter(self._items)

    def put_back(self, item: Item[Work, Outcome]) -> None:
        """Add as the first: it was taken before and comes before others of its key."""
        self._items.appendleft(item)
        self.bytes += item.size

    def append(self, item: Item[Work, Outcome]) -> None:
        """Add at the end."""
        item.since = item.future.get_loop().time()
        self._items.append(item)
        self.bytes += item.size

    async def gather(self, limits: Limits) -> None:
        """Behind a batch of several, wait while each turn of the loop brings more, to share the next commit.

        That is no wait for a time: what comes so has come already, and was not looked at yet.
        """
        if self._last_count < 2:
            return
        for _ in range(_TURNS_MAX):
            before = len(self._items)
            if self.is_more_than(limits):
                return
            await asyncio.sleep(0)
            if len(self._items) <= before:
                return

    def take_batch(self, busy: Collection[str], limits: Limits) -> list[Item[Work, Outcome]]:
        """Take the next batch, oldest first: a key at most once, and none that is busy.

        At least one item if any may be taken, however big; one that is to be alone is the only one. Items
        that nobody waits for are dropped on the way. What is left keeps its order.
        """
        items = self._items
        batch: list[Item[Work, Outcome]] = []
        taken: set[str] = set()
        passed: list[Item[Work, Outcome]] = []
        size = 0
        while items and len(batch) < limits.batch_items_max:
            item = items.popleft()
            if item.future.done():
                self.bytes -= item.size
            elif item.key in busy or item.key in taken:
                passed.append(item)
            elif batch and (item.alone or size + item.size > limits.batch_bytes_max):
                passed.append(item)
                break
            else:
                batch.append(item)
                taken.add(item.key)
                size += item.size
                if item.alone:
                    break
        items.extendleft(reversed(passed))
        self.bytes -= size
        if batch:
            self._last_count = len(batch)
            self._taken_at = batch[-1].future.get_loop().time()
            self._last_wait = self._taken_at - batch[-1].since if items else 0.0
        return batch

    def is_more_than(self, limits: Limits) -> bool:
        """Whether it fills a batch already."""
        return len(self._items) >= limits.batch_items_max or self.bytes >= limits.batch_bytes_max

    def waited(self, now: float) -> float:
        """How many seconds new items wait for a batch while none is idle; 0 where nothing waits.

        As long as the newest of the last batch did, or as the first that waits has since then. One that is
        held up by another of its key does not count. now: on the loop's clock.
        """
        if not self._items:
            return 0.0
        return max(self._last_wait, now - max(self._taken_at, self._items[0].since))

    def drop_done(self) -> None:
        """Forget the items that nobody waits for."""
        self._items = deque(item for item in self._items if not item.future.done())
        self.bytes = sum(item.size for item in self._items)


class Trouble:
    """Why writes fail, and for how long; one that fails now and then is no trouble. Times are a loop's."""

    def __init__(self) -> None:
        self.reason = ""  # of the last attempt; empty when it succeeded
        self._since = 0.0
        self._last = 0.0

    def failed(self, reason: str, now: float) -> bool:
        """Note a failure; True for the first of them."""
        first = not self.reason
        if first:
            self._since = now
        self.reason, self._last = reason, now
        return first

    def is_over(self) -> bool:
        """Note a success; True when there was trouble before."""
        had, self.reason = bool(self.reason), ""
        return had

    def others_write(self, now: float) -> None:
        """Note that a write of another kind stands: what nobody has run into lately is over."""
        if now - self._last > _FORGOTTEN_SECONDS:
            self.reason = ""

    @property
    def lasting(self) -> str:
        """The reason, once attempts have failed for a while with no success between them."""
        return self.reason if self._last - self._since >= _LASTING_SECONDS else ""


class Room:
    """Lets callers add to the line while it is within the limits."""

    def __init__(self, waiting: WaitingLine[Any, Any], limits: Limits) -> None:
        self._waiting = waiting
        self._limits = limits
        self._callers: deque[asyncio.Future[None]] = deque()
        self._open = False

    def is_free(self) -> bool:
        """Whether a caller may go on at once: there is room, and nobody who waited for it."""
        return not self._callers and self._has_room()

    async def wait(self, deadline: float) -> None:
        """Wait for room until the deadline, on the loop's clock; raises Busy then."""
        place = asyncio.get_running_loop().create_future()
        self._callers.append(place)
        try:
            async with asyncio.timeout_at(deadline):
                await place
        except TimeoutError:
            raise Busy(f"the store is busy: {len(self._waiting)} writes are waiting") from None
        finally:
            self.give()  # there may be more, or this one was not used after all

    def give(self) -> None:
        """Let the first caller go on, if there is room; it lets in the next."""
        while self._callers and (self._callers[0].done() or self._open or self._has_room()):
            place = self._callers.popleft()
            if not place.done():
                place.set_result(None)
                return

    def open_wide(self) -> None:
        """Let every caller go on, room or not: to be told that the store is closing."""
        self._open = True
        self.give()

    def _has_room(self) -> bool:
        limits = self._limits
        return len(self._waiting) < limits.queue_items_max and self._waiting.bytes < limits.queue_bytes_max
