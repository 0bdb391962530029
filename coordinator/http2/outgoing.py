"""What goes out on an HTTP/2 connection: frames gathered into few writes, and no more than the peer takes."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from coordinator.http2 import frames
from coordinator.http2.frames import Code, FrameError, frame

_TABLE_IS_EMPTY: Final = b"\x20"  # dynamic table size update, to 0 (RFC 7541 §6.3)
_TABLE_FIRST: Final = 4096  # bytes
_CLOSE_SECONDS: Final = 1.0
_OWED_MAX: Final = 1000  # answers to a peer that does not read them


class NotRead(Exception):
    """The peer asks and does not read the answers."""


class SendWindow:
    """How many bytes of a stream may be sent, beside what all streams may from their beginning."""

    __slots__ = ("is_sent", "more")

    def __init__(self) -> None:
        self.more = 0  # may be negative
        self.is_sent = False  # all of the message


class Outgoing:
    """To be made when the transport is there."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._out: list[bytes] = []
        self._window = frames.WINDOW_FIRST  # of all streams
        self._stream_window = frames.WINDOW_FIRST  # of one that begins
        self._frame_bytes = frames.FRAME_BYTES_LEAST
        self._table_bytes = _TABLE_FIRST
        self._must_tell_table = False
        self._is_paused = False
        self._owed = 0
        self._waiters: dict[asyncio.Future[None], SendWindow] = {}  # who waits to send more, the first first

    def send(self, data: bytes) -> None:
        """At the end of this turn of the loop: so what several streams send is one write."""
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(data)

    def answer(self, data: bytes) -> None:
        """Send what the peer asked for. Raises NotRead when it leaves too much of that unread."""
        if self._is_paused:
            self._owed += 1
            if self._owed > _OWED_MAX:
                raise NotRead("the peer asks and does not read")
        self.send(data)

    def flush(self) -> None:
        """Write what was sent."""
        out, self._out = self._out, []
        if out and not self._transport.is_closing():
            self._transport.write(b"".join(out))

    def close(self, *, waits: bool = False) -> None:
        """Write what was sent, and nothing more. waits: also for a peer that does not read."""
        self.flush()
        self._transport.close()
        if not waits:
            self._loop.call_later(_CLOSE_SECONDS, self._transport.abort)
        self.look_again()

    def headers(self, number: int, block: bytes, *, ends: bool = False) -> None:
        """Send the headers of a stream. ends: nothing follows."""
        if self._must_tell_table:  # who is asked for a smaller table says so in the next block
            self._must_tell_table, block = False, _TABLE_IS_EMPTY + block
        size = self._frame_bytes
        end = frames.END_STREAM if ends else 0
        if len(block) <= size:
            self.send(frame(frames.HEADERS, frames.END_HEADERS | end, number, block))
            return
        self.send(frame(frames.HEADERS, end, number, block[:size]))
        for at in range(size, len(block), size):
            flags = frames.END_HEADERS if at + size >= len(block) else 0
            self.send(frame(frames.CONTINUATION, flags, number, block[at : at + size]))

    def takes_at_once(self, window: SendWindow, size: int) -> bool:
        """Whether a message of so many bytes may leave in one frame; then it is counted."""
        is_free = (
            size <= self._window
            and size <= self._stream_window + window.more
            and size <= self._frame_bytes
            and not (self._is_paused or self._must_tell_table)
        )
        if is_free:
            self._window -= size
            window.more -= size
        return is_free

    async def message(
        self,
        number: int,
        window: SendWindow,
        message: bytes,
        outcome: "asyncio.Future[Any] | None" = None,
        *,
        ends: bool = True,
        patience: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Send a message as far as the peer takes it; no further once its outcome is known.

        ends: nothing follows. patience: stands around each wait for the peer, and may end it by an error.
        """
        at = 0
        try:
            while outcome is None or not outcome.done():
                takes = min(self._stream_window + window.more, self._window, self._frame_bytes)
                if takes <= 0 or self._is_paused:
                    with patience():
                        await self._wait(window, outcome)
                    continue
                part = message[at : at + takes]
                at += len(part)
                window.more -= len(part)
                self._window -= len(part)
                window.is_sent = at == len(message)
                flags = frames.END_STREAM if ends and window.is_sent else 0
                self.send(frame(frames.DATA, flags, number, part))
                if window.is_sent:
                    return
        finally:
            if self._stream_window + window.more > 0:
                self._wake()  # what this one leaves is for others

    async def _wait(self, window: SendWindow, outcome: "asyncio.Future[Any] | None") -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters[waiter] = window
        try:
            if outcome is None:
                await waiter
            else:
                await asyncio.wait((waiter, outcome), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiters.pop(waiter, None)

    def widen(self, window: SendWindow | None, more: int) -> None:
        """The peer takes more bytes: of this stream, or of all together.

        Raises FrameError when those are more than anybody may have.
        """
        if window is None:
            self._window += more
        else:
            window.more += more
        widest = self._window if window is None else self._stream_window + window.more
        if widest > frames.WINDOW_MAX:
            raise FrameError(f"a window of {widest} bytes is too large", Code.FLOW_CONTROL_ERROR)
        self._wake()

    def take_settings(self, values: list[tuple[int, int]], open_windows: Iterable[SendWindow]) -> None:
        """Follow what the peer wants. Raises FrameError when a window becomes larger than anybody's."""
        for name, value in values:
            match name:
                case frames.TABLE_BYTES:
                    self._must_tell_table = self._must_tell_table or value < self._table_bytes
                    self._table_bytes = value
                case frames.STREAM_WINDOW:
                    self._stream_window = value
                    if value + max((it.more for it in open_windows), default=0) > frames.WINDOW_MAX:
                        raise FrameError("a window becomes too large", Code.FLOW_CONTROL_ERROR)
                case frames.FRAME_BYTES:
                    self._frame_bytes = value
        self._wake()

    def pause(self) -> None:
        """Let messages wait."""
        self._is_paused = True

    def resume(self) -> None:
        """Let them go on."""
        self._is_paused, self._owed = False, 0
        self._wake()

    def look_again(self) -> None:
        """Wake all who wait to send more."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _wake(self) -> None:
        """Wake those who can send more, the first first, and no more of them than there is room for."""
        left = 0 if self._is_paused else self._window
        for waiter, window in self._waiters.items():
            if left <= 0:
                return
            mine = self._stream_window + window.more
            if mine > 0:
                left -= mine
                if not waiter.done():
                    waiter.set_result(None)
