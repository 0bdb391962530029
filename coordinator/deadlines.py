"""Deadlines of many short calls, with one timer for all of them.

A timer of its own per call, as `asyncio.timeout` sets, costs 15 to 20 µs under uvloop, a seventh of an HTTP
call, and almost none ever fires. Here a call is noted in the bucket of the tick that it must not outlive.
"""

import asyncio
from types import TracebackType
from typing import Final, Protocol, Self

TICK_SECONDS: Final = 0.05  # how late a deadline may be noticed
# Calls to services that hang begin and end together, and the end of each is work. Of those whose time has
# passed so many are ended at once, or this share of the most that there were; then others have their turn.
_AT_ONCE: Final = 2
_SHARES: Final = 128
_PAUSE_SECONDS: Final = 0.008
LATE_SECONDS: Final = 1.5  # TICK_SECONDS, and all shares with their pauses and some work


class Expires(Protocol):
    """What has a deadline."""

    def expire(self) -> None:
        """Its time has passed."""
        ...


class Deadlines:
    """Gives out deadlines. Of one event loop; the timer runs only while a deadline is open."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buckets: dict[int, set[Expires]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ticked = 0  # the last tick whose bucket is done
        self._at_once = _AT_ONCE

    def within(self, seconds: float) -> "Deadline":
        """Return a context manager that raises TimeoutError when its body takes longer.

        Like `asyncio.timeout`: absolute, whatever the body awaits. Up to TICK_SECONDS late, and up to
        LATE_SECONDS where hundreds end in one tick.
        """
        return Deadline(self, seconds)

    def add(self, deadline: Expires, seconds: float) -> int:
        """Watch the deadline; returns the tick at which it expires."""
        now = self._loop.time()
        tick = int((now + seconds) / TICK_SECONDS) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = set()
            if self._timer is None:
                self._ticked = int(now / TICK_SECONDS)
                self._timer = self._loop.call_later(TICK_SECONDS, self._expire)
        bucket.add(deadline)
        return tick

    def remove(self, deadline: Expires, tick: int) -> None:
        """Forget a deadline that was kept."""
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.discard(deadline)
            if not bucket:  # not left to its tick, which may be days away
                del self._buckets[tick]

    def _expire(self) -> None:
        now = int(self._loop.time() / TICK_SECONDS)
        due = [tick for tick in range(self._ticked + 1, now + 1) if tick in self._buckets]
        left = self._at_once = max(self._at_once, sum(len(self._buckets[tick]) for tick in due) // _SHARES)
        for tick in due:
            bucket = self._buckets.pop(tick)
            while bucket and left:
                bucket.pop().expire()
                left -= 1
            if bucket:
                self._buckets[tick] = bucket
                self._ticked = tick - 1
                self._timer = self._loop.call_later(_PAUSE_SECONDS, self._expire)
                return
        self._ticked, self._at_once = now, _AT_ONCE
        self._timer = self._loop.call_later(TICK_SECONDS, self._expire) if self._buckets else None


class Deadline:
    """One deadline; see `Deadlines.within`."""

    __slots__ = ("_cancelling", "_deadlines", "_seconds", "_task", "_tick", "expired")

    _task: "asyncio.Task[object]"
    _cancelling: int
    _tick: int

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self.expired = False  # True once it has passed

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None, "a deadline needs a task to cancel"
        self._task = task
        self._cancelling = task.cancelling()
        self._tick = self._deadlines.add(self, self._seconds)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.expired:
            self._deadlines.remove(self, self._tick)
        elif self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            # Ours alone: a cancellation from outside would have left the count higher, and goes on as it is.
            raise TimeoutError from error

    def expire(self) -> None:
        """Interrupt the body: the time has passed."""
        self.expired = True
        self._task.cancel()
