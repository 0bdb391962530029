"""One gRPC client's connection: what it may cost is bounded, and all have their turn."""

import asyncio
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final, cast

from coordinator.api.grpc_call import Around, Method
from coordinator.api.grpc_frames import Balance
from coordinator.api.grpc_streams import Streams
from coordinator.api.peer import Peer
from coordinator.http2 import frames
from coordinator.http2.decoder import HeadersTooLong
from coordinator.http2.frames import Code, FrameError, frame
from coordinator.http2.outgoing import NotRead, Outgoing

SILENT_SECONDS_MAX: Final = 30.0  # of a new connection: a client that speaks HTTP/2 begins at once
_FRAMES_A_TURN: Final = 32  # of one connection, before others have their turn


class Connection(asyncio.Protocol):
    """Reads what a client sends, and says goodbye to one that costs more than it brings."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        around: Around,
        connections: "dict[Connection, None]",
        joined: "Callable[[Connection], None]",
    ) -> None:
        """connections: the open ones. joined: called when this one is among them."""
        self._methods = methods
        self._around = around
        self._connections = connections
        self._joined = joined
        self._loop = asyncio.get_running_loop()
        self._balance = Balance(self._loop.time())
        self._preface = frames.PREFACE  # what is still to come of it
        self._frames = frames.Frames()
        self._has_more = False  # frames that wait for their turn
        self._is_reading = True
        self.is_closing = False  # goodbye was said
        self.writing_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is there; tell it what it may do."""
        self.transport = cast(asyncio.Transport, transport)
        self._out = Outgoing(self.transport)
        self.streams = Streams(
            self._methods,
            self._around,
            self._out,
            peer=Peer(transport),
            brought=self._balance.answered,
            late=lambda: self.say_goodbye(Code.ENHANCE_YOUR_CALM),
        )
        self._connections[self] = None
        self._silence = self._loop.call_later(SILENT_SECONDS_MAX, self._close_if_silent)
        self._joined(self)

    @property
    def is_silent(self) -> bool:
        """Whether the client has not begun to speak."""
        return bool(self._preface)

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way."""
        return not self.streams.calls

    def _close_if_silent(self) -> None:
        # A connection that waits for calls has sent its preface.
        if self.is_silent:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self.is_closing = True
        self._silence.cancel()
        self._connections.pop(self, None)
        self.streams.give_up()

    def data_received(self, data: bytes) -> None:
        """Look at some frames now, at the others in turns of the loop of their own."""
        if self.is_closing:
            return
        if self._preface:
            expected = self._preface[: len(data)]
            if not data.startswith(expected):
                self.say_goodbye(Code.PROTOCOL_ERROR)
                return
            self._preface, data = self._preface[len(expected) :], data[len(expected) :]
        self._frames.feed(data)
        if not self._has_more:
            self._take_some()

    def _take_some(self) -> None:
        try:
            cost = self._take_frames()
        except FrameError as error:
            self.say_goodbye(error.code)
            return
        except (HeadersTooLong, NotRead):
            self.say_goodbye(Code.ENHANCE_YOUR_CALM)
            return
        if cost and not self._balance.pay(cost, self._loop.time()):
            self.say_goodbye(Code.ENHANCE_YOUR_CALM)
            return
        self.streams.start()
        self._has_more = self._frames.has_more
        if self._has_more:
            self._loop.call_soon(self._take_more)
        self._read_or_not()

    def _take_more(self) -> None:
        if not self.is_closing:
            self._take_some()

    def _take_frames(self) -> int:
        """Take a turn's frames; returns what they cost. Raises as Streams.take does."""
        cost = 0
        for each in islice(self._frames, _FRAMES_A_TURN):
            cost += self.streams.take(each)
            if cost >= _FRAMES_A_TURN:
                break
        return cost

    def pause_writing(self) -> None:
        """The client does not read: take no more from it, else what it must be answered fills the memory.

        A PING is answered at once whatever waits to be sent.
        """
        self.writing_paused = True
        self._out.pause()
        self._read_or_not()

    def resume_writing(self) -> None:
        """It reads again."""
        self.writing_paused = False
        self._out.resume()
        self._read_or_not()

    def _read_or_not(self) -> None:
        reads = not (self.writing_paused or self._has_more)
        if reads == self._is_reading or self.transport.is_closing():
            return
        self._is_reading = reads
        if reads:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def say_goodbye(self, why: Code = Code.NO_ERROR) -> None:
        """Send GOAWAY, so that the client connects elsewhere without an error, and close."""
        if self.is_closing:
            return
        self.is_closing = True
        self._frames.clear()
        last = frames.number(self.streams.last)
        self._out.send(frame(frames.GOAWAY, 0, 0, last + frames.number(why)))
        self.streams.give_up()
        self._out.close(waits=True)
