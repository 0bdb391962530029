"""Header blocks that HPACK's tables have no part in (RFC 7541 §6.2.3): encoded once, sent many times.

A block of never-indexed literals is the same on every connection, so its beginning can be kept.
"""

from typing import Final

_NEVER_INDEXED: Final = b"\x10"
_ONE_BYTE_MAX: Final = 126


def literal(name: bytes, value: bytes) -> bytes:
    """Encode one header; a block is any number of them."""
    return _NEVER_INDEXED + _length(len(name)) + name + _length(len(value)) + value


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
