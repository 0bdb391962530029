"""Header blocks, decoded (RFC 7541): whatever comes costs no more than its bytes and bounds say. Pure."""

from collections import deque
from typing import Final

from hpack.exceptions import HPACKError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from coordinator.http2.frames import Code, FrameError

Field = tuple[bytes, bytes]  # name and value

ENTRY_BYTES: Final = 32  # what a header counts beside its name and value (RFC 7541 §4.1)
TABLE_BYTES_MAX: Final = 4096  # what everybody may keep who has not been asked for less
_STATIC: Final[tuple[Field, ...]] = HeaderTable.STATIC_TABLE
_STATIC_SIZE: Final = len(_STATIC)
_NUMBER_BYTES_MAX: Final = 5  # behind the first
_UPDATES_MAX: Final = 2  # of the table's size, in one block (§4.2)


class HeadersTooLong(Exception):
    """The headers of a block are more bytes than are taken."""


class Decoder:
    """One connection's table, and the blocks that refer to it.

    bytes_max: of the headers of a block, as HTTP/2 counts them.

    After a block: has_moved says whether it changed the table, counted how many bytes its headers count,
    coded_bytes how many of it were in Huffman's code, which cost a hundred times as much as plain ones.
    """

    def __init__(self, *, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._table: deque[Field] = deque()  # the newest first
        self._table_bytes = 0
        self._table_max = TABLE_BYTES_MAX
        self.has_moved = False
        self.counted = self.coded_bytes = 0

    def decode(self, block: bytes) -> list[Field]:
        """The headers in their order. Raises FrameError, HeadersTooLong; no block can be read after that."""
        self.has_moved = False
        self.counted = self.coded_bytes = 0
        fields: list[Field] = []
        at, end, counted = 0, len(block), 0
        try:
            while at < end:
                first = block[at]
                if first & 0x80:
                    index, at = _number(block, at, 0x7F)
                    field = self._entry(index)
                elif first & 0x40:
                    field, at = self._literal(block, at, 0x3F)
                    self._add(field)
                elif first & 0x20:
                    at = self._resize(block, is_first=not fields)
                    continue
                else:
                    field, at = self._literal(block, at, 0x0F)
                counted += ENTRY_BYTES + len(field[0]) + len(field[1])
                if counted > self._bytes_max:
                    raise HeadersTooLong
                fields.append(field)
        except IndexError:
            raise _unreadable("a header is cut short") from None
        except HPACKError as error:
            raise _unreadable(str(error)) from error
        self.counted = counted
        return fields

    def _entry(self, index: int) -> Field:
        if 0 < index <= _STATIC_SIZE:
            return _STATIC[index - 1]
        if not 0 < index <= _STATIC_SIZE + len(self._table):
            raise _unreadable(f"there is no header {index} in the table")
        return self._table[index - _STATIC_SIZE - 1]

    def _literal(self, block: bytes, at: int, mask: int) -> tuple[Field, int]:
        index, at = _number(block, at, mask)
        if index:
            name = self._entry(index)[0]
        else:
            name, at = self._string(block, at)
        value, at = self._string(block, at)
        return (name, value), at

    def _string(self, block: bytes, at: int) -> tuple[bytes, int]:
        is_coded = block[at] & 0x80
        length, at = _number(block, at, 0x7F)
        end = at + length
        if end > len(block):
            raise IndexError
        if not is_coded:
            return block[at:end], end
        self.coded_bytes += length
        return decode_huffman(block[at:end]), end

    def _add(self, field: Field) -> None:
        size = ENTRY_BYTES + len(field[0]) + len(field[1])
        if size > self._table_max and not self._table:
            return  # so it is with every header where no table is kept
        self.has_moved = True
        self._table_bytes += size
        self._table.appendleft(field)
        self._shrink()

    def _shrink(self) -> None:
        while self._table_bytes > self._table_max:
            name, value = self._table.pop()
            self._table_bytes -= ENTRY_BYTES + len(name) + len(value)

    def _resize(self, block: bytes, *, is_first: bool) -> int:
        """Follow all changes of the table's size, which stand first; returns what is behind them."""
        at = 0
        for _ in range(_UPDATES_MAX if is_first else 0):
            size, at = _number(block, at, 0x1F)
            if size > TABLE_BYTES_MAX:
                raise _unreadable(f"a table of {size} bytes is larger than what was agreed on")
            self.has_moved = True
            self._table_max = size
            self._shrink()
            if at == len(block) or block[at] & 0xE0 != 0x20:
                return at
        raise _unreadable("the table's size is changed where it may not be")


def _number(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """A number whose first bits stand under the mask, and what is behind it (RFC 7541 §5.1)."""
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    shift = 0
    for _ in range(_NUMBER_BYTES_MAX):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _unreadable("a number is too long")


def _unreadable(why: str) -> FrameError:
    return FrameError(f"headers cannot be read: {why}", Code.COMPRESSION_ERROR)
