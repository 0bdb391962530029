"""What waits to be written, and which of it makes the next batch. Pure: no await, no clock."""

import asyncio
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Work = TypeVar("Work")
Outcome = TypeVar("Outcome")


@dataclass(eq=False, slots=True)
class Item(Generic[Work, Outcome]):
    """One work on its way; a future that is done means that nobody waits for it any more."""

    work: Work
    key: str
    size: int  # bytes, about
    deadline: float  # seconds on the loop's clock
    future: "asyncio.Future[Outcome]"
    delays: int = 0  # how often it was put back


class WaitingLine(Generic[Work, Outcome]):
    """Items in the order they came."""

    def __init__(self) -> None:
        self._items: deque[Item[Work, Outcome]] = deque()
        self.bytes = 0  # of all items

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
        self._items.append(item)
        self.bytes += item.size

    def take_batch(
        self, busy: Collection[str], *, items_max: int, bytes_max: int
    ) -> list[Item[Work, Outcome]]:
        """Take the next batch, oldest first: a key at most once, and none that is busy.

        At least one item if any may be taken, however big. Items that nobody waits for are dropped on the
        way. What is left keeps its order.
        """
        items = self._items
        batch: list[Item[Work, Outcome]] = []
        taken: set[str] = set()
        passed: list[Item[Work, Outcome]] = []
        size = 0
        while items and len(batch) < items_max:
            item = items.popleft()
            if item.future.done():
                self.bytes -= item.size
            elif item.key in busy or item.key in taken:
                passed.append(item)
            elif batch and size + item.size > bytes_max:
                passed.append(item)
                break
            else:
                batch.append(item)
                taken.add(item.key)
                size += item.size
        items.extendleft(reversed(passed))
        self.bytes -= size
        return batch

    def drop_done(self) -> None:
        """Forget the items that nobody waits for."""
        self._items = deque(item for item in self._items if not item.future.done())
        self.bytes = sum(item.size for item in self._items)
