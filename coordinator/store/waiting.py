"""What waits to be written: how much may, which of it makes the next batch, and who waits for room."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from coordinator.errors import Busy, DtmError

_TURNS_MAX: Final = 2  # of the loop, while each brings more; by more all wait for one commit, and it for them
LEISURE_SECONDS: Final = 0.1
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
    at_leisure: bool = False  # it goes after those that are pressing
    since: float = 0.0  # seconds on the loop's clock: when it began to wait

    def fail(self, error: DtmError) -> None:
        """Give the error to whoever still waits."""
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(slots=True)
class _Batch(Generic[Work, Outcome]):
    """One that is being filled: a key at most once, and none that is busy."""

    busy: Collection[str]
    limits: Limits
    items: list[Item[Work, Outcome]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    size: int = 0
    is_full: bool = False

    def fill(self, line: deque[Item[Work, Outcome]]) -> list[Item[Work, Outcome]]:
        """Take what fits, oldest first, and drop what nobody waits for; return all that left the line.

        What is left there keeps its order.
        """
        passed: list[Item[Work, Outcome]] = []
        gone: list[Item[Work, Outcome]] = []
        while line and not self.is_full:
            item = line.popleft()
            if item.future.done():
                gone.append(item)
            elif item.key in self.busy or item.key in self.keys:
                passed.append(item)
            elif self.items and (item.alone or self.size + item.size > self.limits.batch_bytes_max):
                passed.append(item)
                self.is_full = True
            else:
                self.items.append(item)
                gone.append(item)
                self.keys.add(item.key)
                self.size += item.size
                self.is_full = item.alone or len(self.items) >= self.limits.batch_items_max
        line.extendleft(reversed(passed))
        return gone


class WaitingLine(Generic[Work, Outcome]):
    """Items in the order they came; those at leisure after all others, until they have waited for a while."""

    def __init__(self) -> None:
        self._pressing: deque[Item[Work, Outcome]] = deque()
        self._at_leisure: deque[Item[Work, Outcome]] = deque()
        self._keys_at_leisure: Counter[str] = Counter()
        self.bytes = 0  # of all items
        self._taken_at = 0.0  # the last batch, on the loop's clock
        self._last_wait = 0.0  # of the newest in it that was pressing
        self._last_count = 0  # how many were in it

    def __len__(self) -> int:
        return len(self._pressing) + len(self._at_leisure)

    def __iter__(self) -> Iterator[Item[Work, Outcome]]:
        yield from self._pressing
        yield from self._at_leisure

    @property
    def has_pressing(self) -> bool:
        """Whether anything is not at leisure."""
        return bool(self._pressing)

    def put_back(self, item: Item[Work, Outcome]) -> None:
        """Add as the first: it was taken before and comes before others of its key, pressing ones too."""
        item.at_leisure = False
        self._pressing.appendleft(item)
        self.bytes += item.size

    def append(self, item: Item[Work, Outcome]) -> None:
        """Add at the end. What is pressing hurries what is at leisure of its key, and stays behind it."""
        item.since = item.future.get_loop().time()
        self.bytes += item.size
        if item.at_leisure:
            self._at_leisure.append(item)
            self._keys_at_leisure[item.key] += 1
            return
        if item.key in self._keys_at_leisure:
            self._pressing += self._hurried(lambda other: other.key == item.key)
        self._pressing.append(item)

    def _hurried(self, is_one: Callable[[Item[Work, Outcome]], bool]) -> list[Item[Work, Outcome]]:
        """Take these out of what is at leisure."""
        hurried = [item for item in self._at_leisure if is_one(item)]
        if hurried:
            self._at_leisure = deque(item for item in self._at_leisure if not is_one(item))
            self._no_more_at_leisure(hurried)
        for item in hurried:
            item.at_leisure = False
        return hurried

    def _no_more_at_leisure(self, items: Sequence[Item[Work, Outcome]]) -> None:
        for item in items:
            self._keys_at_leisure[item.key] -= 1
            if not self._keys_at_leisure[item.key]:
                del self._keys_at_leisure[item.key]

    async def gather(self, limits: Limits) -> None:
        """Behind a batch of several, wait while each turn of the loop brings more, to share the next commit.

        That is no wait for a time: what comes so has come already, and was not looked at yet.
        """
        if self._last_count < 2:
            return
        for _ in range(_TURNS_MAX):
            before = len(self)
            if self.is_more_than(limits):
                return
            await asyncio.sleep(0)
            if len(self) <= before:
                return

    def take_batch(self, busy: Collection[str], limits: Limits) -> list[Item[Work, Outcome]]:
        """Take the next batch, oldest first: a key at most once, and none that is busy.

        At least one item if any may be taken, however big; one that is to be alone is the only one. What is
        at leisure is taken where nothing else can be, or first of all when it has waited for LEISURE_SECONDS.
        Items that nobody waits for are dropped on the way. What is left keeps its order.
        """
        if self._at_leisure and self._is_late(self._at_leisure[0]):
            self._pressing.extendleft(reversed(self._hurried(self._is_late)))
        batch: _Batch[Work, Outcome] = _Batch(busy, limits)
        self.bytes -= _size(batch.fill(self._pressing))
        newest = batch.items[-1] if batch.items else None
        if self._at_leisure and newest is None:
            gone = batch.fill(self._at_leisure)
            self.bytes -= _size(gone)
            self._no_more_at_leisure(gone)
        if batch.items:
            self._last_count = len(batch.items)
            self._taken_at = batch.items[0].future.get_loop().time()
            self._last_wait = self._taken_at - newest.since if newest and self._pressing else 0.0
        return batch.items

    def _is_late(self, item: Item[Work, Outcome]) -> bool:
        return item.future.get_loop().time() - item.since > LEISURE_SECONDS

    def is_more_than(self, limits: Limits) -> bool:
        """Whether it fills a batch already."""
        return len(self) >= limits.batch_items_max or self.bytes >= limits.batch_bytes_max

    def waited(self, now: float) -> float:
        """How many seconds new items wait for a batch while none is idle; 0 where nothing waits.

        As long as the newest of the last batch did, or as the first that waits has since then. One that is
        held up by another of its key does not count. now: on the loop's clock.
        """
        first = self._pressing or self._at_leisure
        if not first:
            return 0.0
        return max(self._last_wait, now - max(self._taken_at, first[0].since))

    def drop_done(self) -> None:
        """Forget the items that nobody waits for."""
        self._pressing = deque(item for item in self._pressing if not item.future.done())
        self._at_leisure = deque(item for item in self._at_leisure if not item.future.done())
        self._keys_at_leisure = Counter(item.key for item in self._at_leisure)
        self.bytes = _size(self)


def _size(items: Iterable[Item[Any, Any]]) -> int:
    return sum([item.size for item in items])


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
