"""One HTTP/2 connection to a gRPC branch, shared by many calls: what goes wrong with one leaves the others.

All that a unary call needs and no more; a library for any use of HTTP/2 made up half of a call's cost. A
connection that the server is leaving (GOAWAY) goes on until its calls are done. Of each call that it breaks
it says whether the branch may have begun to answer it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from coordinator.calls.grpc_call import Call, named
from coordinator.calls.grpc_reply import Broke, GrpcStatus, NotServed, ReplyTooLong, StreamReset
from coordinator.http2 import frames
from coordinator.http2.blocks import Blocks, Parts
from coordinator.http2.blocks import named as by_name
from coordinator.http2.decoder import HeadersTooLong
from coordinator.http2.frames import Code, Frame, FrameError, frame
from coordinator.http2.outgoing import NotRead, Outgoing, SendWindow

HEADERS_BYTES_MAX: Final = 2 << 20  # of an answer's headers, or its trailers
_PARTS_MAX: Final = 512  # that headers may come in
_STREAMS_FIRST: Final = 100  # calls at a time, until the server has said how many; nothing means any number
_CONNECTION_WINDOW: Final = 1 << 20  # bytes of replies in flight; they are dropped as they come
_TOLD_EVERY: Final = 32_768  # bytes taken, after which the server is told
_FIRST: Final = (
    frames.PREFACE
    + frames.settings(
        {frames.TABLE_BYTES: 0, frames.PUSHES: 0, frames.HEADERS_BYTES: HEADERS_BYTES_MAX}
    )
    + frame(frames.WINDOW_UPDATE, 0, 0, (_CONNECTION_WINDOW - frames.WINDOW_FIRST).to_bytes(4, "big"))
)  # fmt: skip


class GrpcConnection(asyncio.Protocol):
    """Made by the transport's factory. `call` as often as wanted, `close` at the end."""

    def __init__(self) -> None:
        self.is_lost = False  # no call can begin any more
        self.is_leaving = False  # the server takes no further calls
        self.has_answered = False  # a call, ever
        self._loop = asyncio.get_running_loop()
        self._out: Outgoing | None = None
        self._frames = frames.Frames()
        self._blocks = Blocks(by_name, bytes_max=HEADERS_BYTES_MAX)
        self._parts = Parts(bytes_max=HEADERS_BYTES_MAX, parts_max=_PARTS_MAX)
        self._calls: dict[int, Call] = {}
        self._turns: deque[asyncio.Future[None]] = deque()  # calls that wait until others end
        self._next_number = 1
        self._has_settings = False
        self._streams_max = _STREAMS_FIRST
        self._window_used = 0  # bytes of replies, since the server was last told that they are taken

    @property
    def takes_calls(self) -> bool:
        """Whether another call may begin."""
        return not (self.is_lost or self.is_leaving or self._next_number > frames.STREAM_NUMBER_MAX)

    async def call(self, block: bytes, payload: bytes, *, reply_bytes_max: int) -> GrpcStatus:
        """Make a call and return its status; see `call_and_keep`."""
        status, _ = await self.call_and_keep(block, payload, reply_bytes_max=reply_bytes_max, keeps_bytes=0)
        return status

    async def call_and_keep(
        self, block: bytes, payload: bytes, *, reply_bytes_max: int, keeps_bytes: int
    ) -> tuple[GrpcStatus, bytes | None]:
        """Make a call and return its status, and so much of its reply; None for a compressed one.

        block: of headers that no table has a part in.
        Raises Broke, ReplyTooLong, BrokenReply. What is cancelled is broken off at the server as well.
        """
        await self._turn()
        number, self._next_number = self._next_number, self._next_number + 2
        out, was_used = self._sending, self.has_answered
        out.headers(number, block)
        self._calls[number] = call = Call(SendWindow(), reply_bytes_max, keeps_bytes)
        message = b"\0" + len(payload).to_bytes(4, "big") + payload
        try:
            await out.message(number, call.window, message, call.outcome)
            status = await call.outcome
        except Broke as error:
            if call.reply.has_begun:
                raise Broke(str(error)) from error  # the branch has seen it, whatever ended the connection
            if isinstance(error, NotServed | StreamReset) or not was_used:
                raise
            # A connection that served other calls and was closed by its server just then: it saw nothing.
            raise NotServed(str(error)) from error
        finally:
            self._end(number, call)
        self.has_answered = True
        return status, call.reply.message

    def close(self) -> None:
        """Close it; calls that still run end with an error."""
        self._lose(Broke("the connection was closed"))

    async def _turn(self) -> None:
        while self.takes_calls and len(self._calls) >= self._streams_max:
            turn = self._loop.create_future()
            self._turns.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._give_turn()
                raise
        if not self.takes_calls:
            self._give_turns()
            raise NotServed("the connection was lost, or its server leaves, before the call began")

    def _give_turn(self) -> None:
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _end(self, number: int, call: Call) -> None:
        del self._calls[number]
        if call.outcome.done() and not call.outcome.cancelled():
            call.outcome.exception()  # whoever was cancelled does not ask for it
        is_over = call.is_reset or (call.window.is_sent and call.reply.has_ended)
        if not (self.is_lost or is_over):
            self._sending.send(frame(frames.RST_STREAM, 0, number, frames.number(Code.CANCEL)))
        self._give_turn()
        if self.is_leaving and not self._calls:
            self.close()

    def _give_turns(self) -> None:
        while self._turns:
            self._give_turn()

    @property
    def _sending(self) -> Outgoing:
        assert self._out is not None, "connect first"
        return self._out

    # --- what comes ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what is taken."""
        self._out = Outgoing(cast(asyncio.Transport, transport))
        self._out.send(_FIRST)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        try:
            self._frames.feed(data)
            for each in self._frames:
                self._take(each)
                if self.is_lost:
                    return
        except FrameError as error:
            self._lose(Broke(f"protocol error: {error}"))
        except NotRead as error:
            self._lose(Broke(str(error)))

    def eof_received(self) -> None:
        """The server sends nothing more: no call can be answered."""
        self._lose(Broke("Connection lost"))

    def pause_writing(self) -> None:
        """Let calls wait with what they send."""
        self._sending.pause()

    def resume_writing(self) -> None:
        """Let them go on."""
        self._sending.resume()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End what runs."""
        self._lose(Broke(f"Connection lost: {exc}" if exc else "Connection lost"))

    def _lose(self, error: Exception, *, blamed: int = 0, reason: Exception | None = None) -> None:
        """End every call with the error, the one that is to blame with the reason."""
        if self.is_lost:
            return
        self.is_lost = True
        for number, call in self._calls.items():
            call.reply.fail(reason if reason is not None and number == blamed else error)
        self._give_turns()
        if self._out is not None:
            self._out.close()

    def _take(self, each: Frame) -> None:
        self._parts.check(each)
        if (take := _TAKERS.get(each.kind)) is not None:
            take(self, each)

    def _call_of(self, each: Frame) -> Call | None:
        """The call, unless it is over."""
        if each.stream == 0 or each.stream % 2 == 0 or each.stream >= self._next_number:
            raise FrameError(f"a frame is of call {each.stream}, which nobody made")
        return self._calls.get(each.stream)

    def _take_data(self, each: Frame) -> None:
        size = len(each.payload)
        self._window_used += size
        if self._window_used >= _CONNECTION_WINDOW // 2:
            self._sending.answer(frame(frames.WINDOW_UPDATE, 0, 0, self._window_used.to_bytes(4, "big")))
            self._window_used = 0
        call = self._call_of(each)
        if call is None:
            return
        reply, ended = call.reply, bool(each.flags & frames.END_STREAM)
        reply.take_data(each.content(), ended=ended)
        reply.window_used += size
        if not ended and not reply.is_whole and reply.window_used >= _TOLD_EVERY:
            self._sending.answer(
                frame(frames.WINDOW_UPDATE, 0, each.stream, reply.window_used.to_bytes(4, "big"))
            )
            reply.window_used = 0

    def _take_headers(self, each: Frame) -> None:
        self._call_of(each)
        try:
            whole = self._parts.take(each)
            if whole is None:
                return
            first, block = whole
            headers = self._blocks.take(block)
        except HeadersTooLong:
            self._blame(each.stream)
            return
        if (call := self._calls.get(first.stream)) is not None:
            call.reply.take_headers(headers, ended=bool(first.flags & frames.END_STREAM))

    def _blame(self, number: int) -> None:
        """A call's headers are too many; what else is to come cannot be read then."""
        text = f"answer has headers of more than {HEADERS_BYTES_MAX} bytes"
        self._lose(NotServed(f"another call's {text}"), blamed=number, reason=ReplyTooLong(f"its {text}"))

    def _take_reset(self, each: Frame) -> None:
        code = frames.number_in(each.payload)
        if (call := self._call_of(each)) is not None:
            call.is_reset = True
            kind = NotServed if code == Code.REFUSED_STREAM else StreamReset
            call.reply.fail(kind(f"the server broke off the call ({named(code)})"))

    def _take_settings(self, each: Frame) -> None:
        if each.flags & frames.ACK:
            return
        values = frames.settings_in(each.payload)
        if not self._has_settings:
            self._has_settings, self._streams_max = True, frames.STREAM_NUMBER_MAX
        self._streams_max = dict(values).get(frames.STREAMS_MAX, self._streams_max)
        self._give_turns()  # each looks whether there is room for it
        self._sending.take_settings(values, [call.window for call in self._calls.values()])
        self._sending.answer(frame(frames.SETTINGS, frames.ACK, 0))

    def _take_ping(self, each: Frame) -> None:
        if not each.flags & frames.ACK:
            self._sending.answer(frame(frames.PING, frames.ACK, 0, each.payload))

    def _take_leave(self, each: Frame) -> None:
        """The server finishes the calls up to a number, and has not looked at those after it."""
        last, code = frames.number_in(each.payload), frames.number_in(each.payload[4:])
        self.is_leaving = True
        self._give_turns()
        for number, call in self._calls.items():
            if number <= last < frames.STREAM_NUMBER_MAX:
                call.reply.has_begun = True  # the server says that it has it
            elif number > last:
                call.reply.fail(NotServed(f"the server is leaving (GOAWAY, {named(code)})"))
        if not self._calls:
            self.close()

    def _take_window(self, each: Frame) -> None:
        more = frames.number_in(each.payload)
        if each.stream == 0:
            self._sending.widen(None, more)
        elif (call := self._call_of(each)) is not None:
            call.reply.has_begun = True
            self._sending.widen(call.window, more)

    def _take_push(self, each: Frame) -> None:
        raise FrameError("a call was pushed, which nobody takes")


_TAKERS: Final[dict[int, Callable[[GrpcConnection, Frame], None]]] = {
    frames.DATA: GrpcConnection._take_data,
    frames.HEADERS: GrpcConnection._take_headers,
    frames.CONTINUATION: GrpcConnection._take_headers,
    frames.RST_STREAM: GrpcConnection._take_reset,
    frames.SETTINGS: GrpcConnection._take_settings,
    frames.PING: GrpcConnection._take_ping,
    frames.GOAWAY: GrpcConnection._take_leave,
    frames.WINDOW_UPDATE: GrpcConnection._take_window,
    frames.PUSH_PROMISE: GrpcConnection._take_push,
}  # others say nothing to a client
