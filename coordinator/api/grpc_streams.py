"""The calls of one gRPC connection: its frames, and what each says of a call or of all of them."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from grpclib.const import Status

from coordinator.api.grpc_answers import refusal
from coordinator.api.grpc_call import TOLD_EVERY, WINDOW_BYTES, Around, Call, Method, status_of
from coordinator.api.grpc_frames import cost_of, cost_of_block
from coordinator.api.grpc_head import read_head
from coordinator.api.peer import Peer
from coordinator.errors import Busy
from coordinator.http2 import frames
from coordinator.http2.blocks import Blocks, Parts
from coordinator.http2.decoder import HeadersTooLong
from coordinator.http2.frames import Code, Frame, FrameError, frame
from coordinator.http2.outgoing import Outgoing

# A call that waits for its saga keeps a stream open; with a hundred one client would queue behind itself.
STREAMS_MAX: Final = 1000  # a connection
HEADERS_SECONDS_MAX: Final = 30.0  # from the first frame of a header block to its last
METADATA_BYTES_MAX: Final = 256 * 1024  # of a call, as HTTP/2 counts them
FIRST: Final = frames.settings(
    {
        frames.STREAMS_MAX: STREAMS_MAX,
        frames.STREAM_WINDOW: WINDOW_BYTES,
        frames.HEADERS_BYTES: METADATA_BYTES_MAX,
    }
) + frame(frames.WINDOW_UPDATE, 0, 0, frames.number(WINDOW_BYTES - frames.WINDOW_FIRST))

_METADATA_PARTS_MAX: Final = 64
_BIG_METADATA_BYTES: Final = 8 * 1024  # what is less is not counted
_LIVED_SECONDS: Final = 1.0  # a call that ran so long before its client gave it up was one


class Streams:
    """To be made when the transport is there; says at once what the client may do (FIRST).

    brought: called for each call that was one, answered or given up late. late: called when headers that
    have begun do not end.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        around: Around,
        out: Outgoing,
        *,
        peer: Peer,
        brought: Callable[[], None],
        late: Callable[[], None],
    ) -> None:
        self._methods = methods
        self._around = around
        self._out = out
        self._peer = peer
        self._brought = brought
        self._late = late
        self._tick: int | None = None  # by which headers that have begun must have ended
        self._loop = asyncio.get_running_loop()
        self._parts = Parts(bytes_max=METADATA_BYTES_MAX, parts_max=_METADATA_PARTS_MAX)
        self._blocks = Blocks(read_head, bytes_max=METADATA_BYTES_MAX)
        self._begun: list[Call] = []  # and not started
        self._untold = 0  # bytes taken, since the client was last told
        self.last = 0  # number of the last call
        self.calls: dict[int, Call] = {}  # under way
        out.send(FIRST)

    def take(self, each: Frame) -> int:
        """Take what came; returns what it cost. Raises FrameError, HeadersTooLong, NotRead."""
        self._parts.check(each)
        take = _TAKERS.get(each.kind)
        return cost_of(each) + ((take(self, each) or 0) if take else 0)

    def start(self) -> None:
        """Let the calls that have begun be answered: their messages have come, where they came with them."""
        begun, self._begun = self._begun, []
        for call in begun:
            if not call.is_over:
                call.start()

    def give_up(self) -> None:
        """The client takes no answer any more."""
        self._begun = []
        self._release_parts()
        for call in tuple(self.calls.values()):
            call.give_up()

    def _begin(self, number: int, block: bytes, *, ended: bool) -> None:
        head = self._blocks.take(block)
        if head.refusal:
            self._refuse(number, head.refusal, ended=ended, why=head.code)
            return
        method = self._methods.get(head.path)
        if method is None:
            unknown = refusal(Status.UNIMPLEMENTED, f"unknown method {head.path}")
            self._refuse(number, unknown, ended=ended)
            return
        call = Call(
            number,
            head,
            method,
            peer=self._peer,
            since=self._loop.time(),
            out=self._out,
            around=self._around,
            left=self._left,
        )
        if head.size > _BIG_METADATA_BYTES:
            try:
                self._around.room.take(call, head.size)
            except Busy as error:
                self._refuse(number, refusal(status_of(error), error.message), ended=ended)
                return
        self.calls[number] = call
        self._begun.append(call)
        if ended:
            call.take(b"", 0, ended=True)

    def _refuse(self, number: int, block: bytes, *, ended: bool, why: Code = Code.NO_ERROR) -> None:
        """Answer what never becomes a call."""
        self._out.headers(number, block, ends=True)
        if why or not ended:
            self._reset(number, why)
        self._brought()

    def _left(self, call: Call, is_answered: bool) -> None:
        del self.calls[call.number]
        if is_answered or self._loop.time() - call.since > _LIVED_SECONDS:
            self._brought()

    def _reset(self, number: int, why: Code) -> None:
        self._out.send(frame(frames.RST_STREAM, 0, number, frames.number(why)))

    def _break_off(self, call: Call, why: Code) -> None:
        self._reset(call.number, why)
        call.give_up()

    # --- headers that come in several frames ---

    def expire(self) -> None:
        """They did not end in time."""
        self._tick = None
        self._late()

    def _hold_part(self, size: int) -> None:
        if self._tick is None:
            self._tick = self._around.deadlines.add(self, HEADERS_SECONDS_MAX)
        try:
            self._around.room.take(self, size, arriving=True)
        except Busy as error:
            raise HeadersTooLong from error

    def _release_parts(self) -> None:
        if self._tick is not None:
            self._around.deadlines.remove(self, self._tick)
            self._tick = None
        self._around.room.release(self)

    # --- frames ---

    def _call_of(self, each: Frame) -> Call | None:
        """The call, unless it is over. Raises FrameError for a number that no call has had."""
        if each.stream % 2 == 0 or each.stream > self.last:
            raise FrameError(f"a frame is of call {each.stream}, which nobody made")
        return self.calls.get(each.stream)

    def _take_headers(self, each: Frame) -> int:
        if each.stream % 2 == 0:
            raise FrameError(f"a call has the number {each.stream}")
        whole = self._parts.take(each)
        if whole is None:
            self._hold_part(len(each.payload))
            return 0
        if each.kind == frames.CONTINUATION:
            self._release_parts()
        first, block = whole
        number, ended = first.stream, bool(first.flags & frames.END_STREAM)
        if number > self.last and len(self.calls) < STREAMS_MAX:
            self.last = number
            self._begin(number, block, ended=ended)
            return cost_of_block(self._blocks.coded_bytes, self._blocks.fields)
        self._blocks.take(block)  # the table moves with each
        call = self.calls.get(number)
        if call is None:
            # REFUSED_STREAM: nobody has looked at it, so it may be repeated.
            self._reset(number, Code.REFUSED_STREAM if number > self.last else Code.STREAM_CLOSED)
            self.last = max(self.last, number)
        elif call.incoming.has_ended:
            self._break_off(call, Code.STREAM_CLOSED)
        elif not ended:
            self._break_off(call, Code.PROTOCOL_ERROR)
        else:
            call.take(b"", 0, ended=True)
        return 1 + cost_of_block(self._blocks.coded_bytes, self._blocks.fields)

    def _take_data(self, each: Frame) -> None:
        size = len(each.payload)
        self._untold += size
        call = self._call_of(each)
        content = each.content()
        if self._untold >= TOLD_EVERY:
            self._out.answer(frame(frames.WINDOW_UPDATE, 0, 0, frames.number(self._untold)))
            self._untold = 0
        if call is None:
            return
        if call.incoming.has_ended:
            self._break_off(call, Code.STREAM_CLOSED)
            return
        if not call.take(content, size, ended=bool(each.flags & frames.END_STREAM)):
            self._break_off(call, Code.FLOW_CONTROL_ERROR)

    def _take_reset(self, each: Frame) -> None:
        _check_size(each, 4)
        if (call := self._call_of(each)) is not None:
            call.give_up()

    def _take_priority(self, each: Frame) -> None:
        _check_size(each, 5)
        if not each.stream:
            raise FrameError("the connection has no priority")

    def _take_settings(self, each: Frame) -> None:
        _check_of_all(each)
        if each.flags & frames.ACK:
            _check_size(each, 0)
            return
        values = frames.settings_in(each.payload)
        self._out.take_settings(values, [call.window for call in self.calls.values()])
        self._out.answer(frame(frames.SETTINGS, frames.ACK, 0))

    def _take_ping(self, each: Frame) -> None:
        _check_of_all(each)
        _check_size(each, 8)
        if not each.flags & frames.ACK:
            self._out.answer(frame(frames.PING, frames.ACK, 0, each.payload))

    def _take_leave(self, each: Frame) -> None:
        """The client makes no more calls; those under way are answered, then it closes."""
        _check_of_all(each)
        frames.number_in(each.payload[4:])

    def _take_window(self, each: Frame) -> None:
        _check_size(each, 4)
        more = frames.number_in(each.payload)
        if not each.stream:
            if not more:
                raise FrameError("a window is made larger by nothing")
            self._out.widen(None, more)
        elif (call := self._call_of(each)) is None:
            return
        elif not more:
            self._break_off(call, Code.PROTOCOL_ERROR)
        else:
            try:
                self._out.widen(call.window, more)
            except FrameError as error:
                self._break_off(call, error.code)

    def _take_push(self, each: Frame) -> None:
        raise FrameError("a client pushes nothing")


def _check_size(each: Frame, size: int) -> None:
    if len(each.payload) != size:
        raise FrameError("a frame has a size that it cannot have", Code.FRAME_SIZE_ERROR)


def _check_of_all(each: Frame) -> None:
    if each.stream:
        raise FrameError("a frame of the connection names a call")


_TAKERS: Final[dict[int, Callable[[Streams, Frame], int | None]]] = {
    frames.DATA: Streams._take_data,
    frames.HEADERS: Streams._take_headers,
    frames.CONTINUATION: Streams._take_headers,
    frames.RST_STREAM: Streams._take_reset,
    frames.PRIORITY: Streams._take_priority,
    frames.SETTINGS: Streams._take_settings,
    frames.PING: Streams._take_ping,
    frames.GOAWAY: Streams._take_leave,
    frames.WINDOW_UPDATE: Streams._take_window,
    frames.PUSH_PROMISE: Streams._take_push,
}  # others say nothing to a server
