"""Group commit: what all running transactions want written, gathered into few commits.

Knows no database. Callers queue their work; a writer takes what has gathered and hands it to `write`, which
makes one commit of it. While that runs, the next batch gathers: an idle store is written to at once, a busy
one shares each commit among many, also with what comes in the next turns of the loop, one after the other.

- Works of one key are written one after the other, in the order they came: a batch holds a key once, and none
  that is in another batch at the time.
- What nobody waits for in earnest goes after all others, or first once it has waited for a while; another
  writer takes those up at once beside it.
- Everything is bounded: a batch, and what waits. When there is no room, a caller waits until its own timeout.
- A batch that the database refuses is taken apart until the refused work is alone and gets its own error.
- A batch that could not be written is tried again, until nobody waits for it. A work whose row somebody else
  holds goes back to the queue, so that it delays only what is behind it. One that broke the connection is
  taken apart as well; the work that does so with no other beside it is written alone from then on.
- A caller that gives up before its work is taken leaves nothing behind; later the write may stand or not.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from operator import attrgetter
from time import perf_counter
from typing import Final, Generic

from coordinator.errors import StoreUnavailable
from coordinator.store.commits import Observer, Rejected, TryAgain
from coordinator.store.waiting import Item, Limits, Outcome, Room, Trouble, WaitingLine, Work
from coordinator.store.writers import Writers
from coordinator.telemetry.log import log

_RETRY_SECONDS_FIRST: Final = 0.02
_RETRY_SECONDS_MAX: Final = 1.0
_HELD_SECONDS_FIRST: Final = 0.005
_CLOCK_GRAIN_SECONDS: Final = 0.001  # a loop may run a timer this much early

_key: Final = attrgetter("key")


class GroupCommit(Generic[Work, Outcome]):
    """The queue and its writers; made inside a running loop.

    write: commits all the works, in order of key, in one transaction, and returns their outcomes in the same
    order; None for a work that was left out because somebody else holds its row: it is tried again. Its
    second argument asks for a closer look, after a Rejected that was perhaps a race. Raises Rejected or
    TryAgain; anything else is a bug: the callers of that batch get StoreUnavailable, all others go on.
    jitter: returns 0 to 1, for the back-off.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Work], bool], Awaitable[Sequence[Outcome | None]]],
        *,
        limits: Limits,
        observer: Observer,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._write = write
        self._limits = limits
        self._observer = observer
        self._jitter = jitter
        self._loop = asyncio.get_running_loop()
        self._waiting: WaitingLine[Work, Outcome] = WaitingLine()
        self._room = Room(self._waiting, limits)
        self._busy: dict[str, Item[Work, Outcome]] = {}  # being written, by key
        self._held: dict[Item[Work, Outcome], asyncio.TimerHandle] = {}  # busy, and not with a writer
        self._team = Writers(limits.writers, limits.patience_seconds, self._loop)
        self._expiry: asyncio.TimerHandle | None = None
        self.trouble = Trouble()
        self._closing = False
        self._writers: set[asyncio.Task[None]] = set()
        for _ in range(limits.writers):
            self._start_writer()

    async def submit(
        self, work: Work, *, key: str, size: int, timeout: float, at_leisure: bool = False
    ) -> Outcome:
        """Return the outcome of the work after the commit that holds it.

        key: works of the same key are written in the order of their submits. size: bytes, about. timeout:
        seconds. at_leisure: nobody waits for it in earnest; it goes after all others. Raises Busy (no room,
        not taken), StoreUnavailable, or the error of a work that was refused.
        """
        deadline = self._loop.time() + timeout
        if not self._room.is_free():
            await self._room.wait(deadline)
        if self._closing:
            raise StoreUnavailable("the store is closing")
        future: asyncio.Future[Outcome] = self._loop.create_future()
        item = Item(work, key, size, deadline, future, at_leisure=at_leisure)
        self._waiting.append(item)
        self._call_writer()
        if self._expiry is None or deadline < self._expiry.when():
            self._expire_at(deadline)
        return await future

    @property
    def waiting(self) -> int:
        """How many works are queued."""
        return len(self._waiting)

    def seconds_to_wait(self) -> float:
        """For how many seconds a new work is queued; 0 if the next batch takes it, or writes fail."""
        if self._team.any_idle or self.trouble.reason or not self._waiting.is_more_than(self._limits):
            return 0.0
        return self._waiting.waited(self._loop.time())

    async def close(self, *, seconds: float) -> None:
        """Take nothing more, write what was taken for at most `seconds`, then end the writers."""
        self._closing = True
        self._room.open_wide()
        unanswered = [item.future for item in self._items() if not item.future.done()]
        if unanswered:
            await asyncio.wait(unanswered, timeout=seconds)
        for item in self._items():
            item.fail(StoreUnavailable("the store was closed before it confirmed"))
        writers = list(self._writers)
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        self._team.stop_waiting()
        for timer in (self._expiry, *self._held.values()):
            if timer is not None:
                timer.cancel()

    def _items(self) -> Iterator[Item[Work, Outcome]]:
        yield from self._busy.values()
        yield from self._waiting

    # --- deadlines: one timer for all ---

    def _expire_at(self, deadline: float) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        """Answer the callers whose time is over, and look again when the next one's will be."""
        self._expiry = None
        now = self._loop.time() + _CLOCK_GRAIN_SECONDS
        for item in self._items():
            if item.deadline <= now:
                trouble = item.trouble or self.trouble.reason
                reason = f": {trouble}" if trouble else ""
                item.fail(StoreUnavailable(f"the store did not confirm in time{reason}"))
        self._waiting.drop_done()
        self._room.give()
        deadlines = [item.deadline for item in self._items() if not item.future.done()]
        if deadlines:
            self._expire_at(min(deadlines))

    # --- writers ---

    def _start_writer(self) -> None:
        writer = self._loop.create_task(self._run_writer(), name="store writer")
        self._writers.add(writer)
        writer.add_done_callback(self._writer_ended)

    def _writer_ended(self, writer: "asyncio.Task[None]") -> None:
        self._writers.discard(writer)
        if writer.cancelled() or self._closing:
            return
        # Its callers have been answered; the others must not suffer from the bug.
        log.error("a store writer ended unexpectedly; starting another", exception=writer.exception())
        self._start_writer()

    def _call_writer(self) -> None:
        if self._team.any_idle and len(self._waiting):
            self._team.call(has_pressing=self._waiting.has_pressing)

    async def _run_writer(self) -> None:
        limits = self._limits
        while True:
            await self._waiting.gather(limits)
            batch = self._waiting.take_batch(self._busy, limits)
            if not batch:
                await self._team.rest()
                continue
            is_pressing = not batch[0].at_leisure
            self._team.begins(is_pressing=is_pressing)
            self._call_writer()
            batch.sort(key=_key)  # the same in every batch, so that no two wait for each other in a ring
            self._busy.update([(item.key, item) for item in batch])
            self._room.give()
            put_back: set[Item[Work, Outcome]] = set()  # perhaps with another writer by now
            try:
                await self._write_all(batch, put_back)
            finally:
                self._team.ends(is_pressing=is_pressing)
                for item in batch:
                    if item not in put_back:
                        item.fail(StoreUnavailable("the store did not confirm"))
                        self._release(item)

    def _release(self, item: Item[Work, Outcome]) -> None:
        """Let the next work of the same key be written."""
        del self._busy[item.key]
        self._call_writer()

    def _put_back_soon(self, item: Item[Work, Outcome], put_back: set[Item[Work, Outcome]]) -> None:
        """Somebody else holds its row: try again later, before other works of its key, in no writer's way."""
        put_back.add(item)
        seconds = min(_HELD_SECONDS_FIRST * 2 ** min(item.delays, 10), _RETRY_SECONDS_MAX)
        item.delays += 1
        self._held[item] = self._loop.call_later(self._jittered(seconds), self._put_back, item)

    def _put_back(self, item: Item[Work, Outcome]) -> None:
        del self._held[item]
        if not item.future.done():
            self._waiting.put_back(item)
        self._release(item)

    async def _write_all(self, batch: list[Item[Work, Outcome]], put_back: set[Item[Work, Outcome]]) -> None:
        """Write until every item has its answer, was put back, or nobody waits for the rest."""
        parts = [(batch, False)]  # with whether to look closely
        failures = 0
        while parts:
            part, closely = parts.pop()
            if failures:
                part = [item for item in part if not item.future.done()]
                if not part:
                    continue
            try:
                await self._write_once(part, closely, put_back)
            except Rejected as error:
                failures += 1
                if error.perhaps_raced and not closely:
                    parts.append((part, True))
                elif len(part) == 1:
                    if error.always and self.trouble.failed(error.error.message, self._loop.time()):
                        log.error("{}", error.error)
                    part[0].fail(error.error)
                else:
                    parts += _halves(part)
            except TryAgain as error:
                failures += 1
                if error.broke:
                    if len(part) > 1:
                        parts += _halves(part)
                    else:
                        self._set_apart(part[0], error.reason, put_back)
                    await self._back_off(error.reason, 1)
                elif not error.one_by_one:
                    parts.append((part, closely))
                    await self._back_off(error.reason, failures)
                elif len(part) > 1:
                    parts += [([item], False) for item in reversed(part)]
                else:
                    self._put_back_soon(part[0], put_back)

    def _set_apart(self, item: Item[Work, Outcome], reason: str, put_back: set[Item[Work, Outcome]]) -> None:
        """It broke the connection with no other beside it: nor shall it take others with it the next time."""
        item.alone, item.trouble = True, reason
        self._put_back_soon(item, put_back)

    async def _write_once(
        self, part: list[Item[Work, Outcome]], closely: bool, put_back: set[Item[Work, Outcome]]
    ) -> None:
        started = perf_counter()
        outcomes = await self._write([item.work for item in part], closely)
        for item, outcome in zip(part, outcomes, strict=True):
            if outcome is None:
                self._put_back_soon(item, put_back)
            elif not item.future.done():
                item.future.set_result(outcome)
        self._observer.batch_written(len(part), sum([item.size for item in part]), perf_counter() - started)
        if self.trouble.is_over():
            log.info("the store is written to again")

    async def _back_off(self, reason: str, failures: int) -> None:
        if self.trouble.failed(reason, self._loop.time()):
            log.warning("the store was not written, trying again: {}", reason)
        seconds = min(_RETRY_SECONDS_FIRST * 2 ** min(failures - 1, 10), _RETRY_SECONDS_MAX)
        await asyncio.sleep(self._jittered(seconds))

    def _jittered(self, seconds: float) -> float:
        return seconds * (0.5 + self._jitter() / 2)


def _halves(part: list[Item[Work, Outcome]]) -> list[tuple[list[Item[Work, Outcome]], bool]]:
    """The parts to write next, the last one first."""
    middle = len(part) // 2
    return [(part[middle:], False), (part[:middle], False)]
