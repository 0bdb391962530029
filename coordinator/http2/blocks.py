"""A connection's header blocks: put together from their frames, and read.

Most say the same again and again: such a block is read once, as long as no table moves under it.
"""

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from coordinator.http2.decoder import Decoder, Field, HeadersTooLong
from coordinator.http2.frames import CONTINUATION, END_HEADERS, Frame, FrameError

T = TypeVar("T")

_BLOCKS_MAX: Final = 32  # remembered
_BLOCK_BYTES_MAX: Final = 512  # of one that is
_HEADERS_BYTES_MAX: Final = 2048  # of what it says: a few bytes may stand for much


class Parts:
    """Puts together a connection's header blocks that come in several frames.

    bytes_max: of a block. parts_max: frames of a block.
    """

    def __init__(self, *, bytes_max: int, parts_max: int) -> None:
        self._bytes_max = bytes_max
        self._parts_max = parts_max
        self._parts: list[Frame] = []  # of the block that has begun and does not end yet
        self._bytes = 0

    def check(self, each: Frame) -> None:
        """Raise FrameError for a frame that comes in the middle of another one's headers."""
        parts = self._parts
        if parts and (each.kind != CONTINUATION or each.stream != parts[0].stream):
            raise FrameError("headers were broken off by another frame")

    def take(self, each: Frame) -> tuple[Frame, bytes] | None:
        """Take HEADERS or CONTINUATION; the first frame and the whole block, once it is there.

        Raises FrameError, HeadersTooLong.
        """
        parts = self._parts
        if each.kind == CONTINUATION:
            if not parts:
                raise FrameError("headers go on that have not begun")
        elif each.flags & END_HEADERS:
            return each, each.content()
        parts.append(each)
        self._bytes += len(each.payload)
        if len(parts) > self._parts_max or self._bytes > self._bytes_max:
            raise HeadersTooLong
        if not each.flags & END_HEADERS:
            return None
        self._parts, self._bytes = [], 0
        return parts[0], b"".join([parts[0].content(), *[part.payload for part in parts[1:]]])


class Blocks(Generic[T]):
    """Reads a connection's header blocks.

    read: what their headers mean. bytes_max: of the headers of a block, as HTTP/2 counts them.

    What a block means follows from its bytes and from the table that both ends keep. A block is remembered
    until the table moves, and only where it has not moved the table itself.
    """

    def __init__(self, read: Callable[[Sequence[Field]], T], *, bytes_max: int) -> None:
        self._read = read
        self._decoder = Decoder(bytes_max=bytes_max)
        self._known: dict[bytes, T] = {}
        # Of the last block, what reading it cost: bytes in Huffman's code, headers.
        self.coded_bytes = self.fields = 0

    def take(self, block: bytes) -> T:
        """What the block says. Raises HeadersTooLong, FrameError; no other block can be read then."""
        known = self._known.get(block)
        if known is not None:
            self.coded_bytes = self.fields = 0
            return known
        decoder = self._decoder
        fields = decoder.decode(block)
        self.coded_bytes, self.fields = decoder.coded_bytes, len(fields)
        meaning = self._read(fields)
        if decoder.has_moved:
            self._known.clear()
        elif len(block) <= _BLOCK_BYTES_MAX and decoder.counted <= _HEADERS_BYTES_MAX:
            if len(self._known) >= _BLOCKS_MAX:
                self._known.clear()
            self._known[block] = meaning
        return meaning


def named(fields: Sequence[Field]) -> dict[str, str]:
    """Headers by name, the last one counts; Latin-1, which no byte fails."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}
