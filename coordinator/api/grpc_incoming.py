"""The messages of a gRPC call, put together as their bytes arrive. Bounded; does no I/O."""

from collections import deque
from struct import Struct
from typing import Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from coordinator.api.grpc_answers import PREFIX_BYTES
from coordinator.api.room import Room
from coordinator.errors import Busy

_PIECE_BYTES: Final = 64 * 1024  # of a longer message are made room for at a time
CALL_BYTES: Final = 4096  # in memory, of a call that waits
_MESSAGE_BYTES: Final = 64  # what one of several takes beside its own
_PREFIX: Final = Struct(">?I")  # compressed?, length


class Incoming:
    """What a client sends in a call. holder: who holds it in the room. bytes_max: of a message.

    is_single: one message is wanted, and what else comes is passed over.
    """

    __slots__ = (
        "_bytes_max",
        "_held",
        "_holder",
        "_is_done",
        "_is_single",
        "_length",
        "_messages",
        "_passing",
        "_rest",
        "_room",
        "_trouble",
        "has_ended",
    )

    def __init__(self, holder: object, room: Room, *, bytes_max: int, is_single: bool) -> None:
        self.has_ended = False  # nothing more will come
        self._holder = holder
        self._room = room
        self._bytes_max = bytes_max
        self._is_single = is_single
        self._is_done = False  # nothing more is wanted
        self._rest = bytearray()
        self._length = -1  # of the message that has begun; -1: nobody has said yet
        self._held = 0  # bytes of it
        self._messages: deque[bytes] = deque()
        self._passing = 0  # bytes in the room: of a call without a message yet, of the message given last
        self._trouble: Busy | GRPCError | None = None

    @property
    def is_ready(self) -> bool:
        """Whether `next` can say something."""
        return bool(self._messages) or self.has_ended or self._trouble is not None

    @property
    def has_whole(self) -> bool:
        """Whether a message is whole and waits."""
        return bool(self._messages)

    def take(self, data: bytes, *, ended: bool) -> None:
        """Take what came."""
        self.has_ended = ended
        if self._is_done or not data:
            return
        self._rest += data
        try:
            while self._cut():
                pass
        except (Busy, GRPCError) as trouble:
            self._trouble = trouble
            self.drop()

    def expect(self) -> None:
        """Count the call until its message is there. Raises Busy when too many wait for theirs."""
        if not self.is_ready:
            self._room.take(self._holder, CALL_BYTES, arriving=True)
            self._passing = CALL_BYTES

    def stay(self) -> None:
        """Count the call to its end, which may never come. Raises Busy when there are too many."""
        self._room.take(self._holder, CALL_BYTES)

    def drop(self) -> None:
        """Nothing more is wanted."""
        self._is_done = True
        self._rest.clear()

    def next(self) -> bytes | None:
        """The next message, None behind the last.

        Raises Busy when there is no room; GRPCError RESOURCE_EXHAUSTED for one of more than bytes_max,
        before it is read; and for one that is compressed or cut short.
        """
        self.forget()
        if self._messages:
            message = self._messages.popleft()
            if not self._is_single:
                self._passing = len(message) + _MESSAGE_BYTES
            return message
        if self._trouble is not None:
            raise self._trouble
        if self._rest:
            raise GRPCError(Status.INTERNAL, "the message is cut short")
        return None

    def forget(self) -> None:
        """The message that was given last is answered, and others may follow."""
        if self._passing:
            self._room.give_back(self._holder, self._passing)
            self._passing = 0

    def _cut(self) -> bool:
        """Cut off a message; whether there may be another."""
        rest = self._rest
        if self._length < 0:
            if len(rest) < PREFIX_BYTES:
                return False
            self._begin(*_PREFIX.unpack_from(rest))
        end = PREFIX_BYTES + self._length
        while self._held < min(self._length, len(rest) - PREFIX_BYTES):
            self._hold(min(self._length - self._held, _PIECE_BYTES), arriving=True)
        if len(rest) < end:
            return False
        self._messages.append(bytes(rest[PREFIX_BYTES:end]))
        if self._is_single:
            self.drop()
            return False
        del rest[:end]
        self._length = -1
        return bool(rest)

    def _begin(self, compressed: bool, length: int) -> None:
        if compressed:
            raise GRPCError(Status.UNIMPLEMENTED, "compressed messages are not supported")
        if length > self._bytes_max:
            raise GRPCError(
                Status.RESOURCE_EXHAUSTED,
                f"the message must have at most {self._bytes_max} bytes, but has {length}",
            )
        self._length, self._held = length, 0
        if not self._is_single:
            self._room.take(self._holder, _MESSAGE_BYTES)
        if length <= _PIECE_BYTES:
            self._hold(length, arriving=False)

    def _hold(self, size: int, *, arriving: bool) -> None:
        self._room.take(self._holder, size, arriving=arriving)
        self._held += size
