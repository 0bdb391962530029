"""What HTTP/2's frames cost, and how much of that a connection may run up. Pure: no I/O, no clock."""

from typing import Final

from coordinator.http2 import frames
from coordinator.http2.frames import Frame

_SMALL_BYTES: Final = 128  # a DATA frame with less brings hardly more than its own header
_SETTINGS_COST: Final = 10  # each goes through all open streams
_BYTES_A_COST: Final = 64  # of a control frame that is longer than these frames need be
_CODED_BYTES_FREE: Final = 8192  # of a header block, in Huffman's code
_FIELDS_FREE: Final = 128  # of a header block
_FIELDS_A_COST: Final = 16

# Enough for a thousand calls at once, each with two small pieces, that all pass their deadline at once.
BALANCE_MAX: Final = 4000
BALANCE_A_SECOND: Final = 200
# What an answered call may have cost: pieces of its message, window updates, pings, its own end.
BALANCE_A_CALL: Final = 12


def cost_of(each: Frame) -> int:
    """What a frame costs that brings nothing, 0 of one that does."""
    length = len(each.payload)
    match each.kind:
        case frames.HEADERS:  # a stream that ends without an answer is ended by a frame that costs
            return 0
        case frames.DATA:
            return int(length < _SMALL_BYTES)
        case frames.SETTINGS:
            return _SETTINGS_COST + length // _BYTES_A_COST
        case frames.CONTINUATION:  # whose bytes are bounded as metadata
            return 1
        case _:
            return 1 + length // _BYTES_A_COST


def cost_of_block(coded_bytes: int, fields: int) -> int:
    """What reading a header block costs, by what is in Huffman's code and by the number of its headers."""
    return (
        max(coded_bytes - _CODED_BYTES_FREE, 0) // _BYTES_A_COST
        + max(fields - _FIELDS_FREE, 0) // _FIELDS_A_COST
    )


class Balance:
    """What one connection may still cost: answered calls and time add to it, frames take from it."""

    def __init__(self, now: float) -> None:
        """now: seconds, monotonic; as everywhere here."""
        self._left = float(BALANCE_MAX)
        self._now = now

    def pay(self, cost: int, now: float) -> bool:
        """Take the cost; False when it is more than there is."""
        self._left = min(self._left + (now - self._now) * BALANCE_A_SECOND, BALANCE_MAX) - cost
        self._now = now
        return self._left >= 0

    def answered(self) -> None:
        """A call brought something."""
        self._left = min(self._left + BALANCE_A_CALL, BALANCE_MAX)
