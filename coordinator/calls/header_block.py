"""Header blocks that HPACK's tables have no part in (RFC 7541 §6.2.3): encoded once, sent many times.

h2 encodes headers one by one and compares each with all that the connection remembers: a sixth of a gRPC
call. A block of never-indexed literals is the same on every connection, so its beginning can be kept.
"""

from collections.abc import Iterable
from typing import Final

from hpack import Encoder, NeverIndexedHeaderTuple

_TABLE_BYTES: Final = 4096  # of the dynamic table, unless the other side wants less
_TABLE_IS_EMPTY: Final = b"\x20"  # dynamic table size update, to 0 (RFC 7541 §6.3)
_NEVER_INDEXED: Final = b"\x10"
_ONE_BYTE_MAX: Final = 126


class HeaderBlock(NeverIndexedHeaderTuple):
    """All headers of a request: where h2 expects one header, this takes the place of all. Made by `block`."""


def block(encoded: bytes) -> HeaderBlock:
    """Make a block of what `literal` encoded."""
    return HeaderBlock(b"", encoded)


def literal(name: bytes, value: bytes) -> bytes:
    """Encode one header."""
    return _NEVER_INDEXED + _length(len(name)) + name + _length(len(value)) + value


class BlockEncoder:
    """Takes the place of a connection's `hpack.Encoder`; sends blocks as they are."""

    def __init__(self, replaced: Encoder) -> None:
        self._table_bytes = _TABLE_BYTES
        self._must_tell = False
        self.header_table_size = replaced.header_table_size

    @property
    def header_table_size(self) -> int:
        """Bytes that the other side is ready to remember."""
        return self._table_bytes

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        # Whoever is asked for a smaller table has to say so in the next block (RFC 7541 §4.2).
        self._must_tell = self._must_tell or value < self._table_bytes
        self._table_bytes = value

    def encode(self, headers: Iterable[tuple[bytes, bytes]], huffman: bool = True) -> bytes:
        """Return the block among the headers, or encode them one by one. huffman: not used."""
        encoded = b"".join(
            header[1] if type(header) is HeaderBlock else literal(header[0], header[1]) for header in headers
        )
        if self._must_tell:
            self._must_tell = False
            return _TABLE_IS_EMPTY + encoded
        return encoded


def _length(length: int) -> bytes:
    """An integer with a prefix of 7 bits (RFC 7541 §5.1)."""
    if length <= _ONE_BYTE_MAX:
        return bytes((length,))
    encoded = bytearray((127,))
    rest = length - 127
    while rest >= 128:
        encoded.append(rest % 128 + 128)
        rest //= 128
    encoded.append(rest)
    return bytes(encoded)
