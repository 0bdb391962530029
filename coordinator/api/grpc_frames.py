"""HTTP/2 frames as they arrive: where they end and what they cost. Pure: no I/O, no clock."""

from typing import Final

_PREFACE_BYTES: Final = 24
_HEADER_BYTES: Final = 9
_SMALL_BYTES: Final = 128  # a DATA frame with less brings hardly more than its own header
_SETTINGS_COST: Final = 10  # each goes through all open streams
_BYTES_A_COST: Final = 64  # of a control frame that is longer than these frames need be

# Enough for a thousand calls at once, each with two small pieces, that all pass their deadline at once.
BALANCE_MAX: Final = 4000
BALANCE_A_SECOND: Final = 200
# What an answered call may have cost: pieces of its message, window updates, pings, its own end.
BALANCE_A_CALL: Final = 12


class Frames:
    """Follows the frames of one connection through the pieces in which they arrive."""

    def __init__(self) -> None:
        self._left = _PREFACE_BYTES  # bytes of the frame under way
        self._header = b""  # the beginning of one, where the last piece ended in it
        self.cost = 0  # of all frames so far that bring nothing

    def cut(self, data: bytes, start: int, frames_max: int) -> int:
        """Return where in `data` to stop, so that from `start` on at most so many frames begin."""
        position, size, cost_max = start, len(data), self.cost + frames_max
        while True:
            if self._left > size - position:
                self._left -= size - position
                return size
            position += self._left
            self._left = 0
            if frames_max == 0 or self.cost >= cost_max:
                return position
            frames_max -= 1
            end = position + _HEADER_BYTES - len(self._header)
            header = self._header + data[position:end]
            if end > size:
                self._header = header
                return size
            self._header, position = b"", end
            self._left = int.from_bytes(header[:3])
            self.cost += _cost(header[3], self._left)


def _cost(kind: int, length: int) -> int:
    match kind:
        case 0x1:  # HEADERS: a stream that ends without an answer is ended by a frame that costs
            return 0
        case 0x0:  # DATA
            return int(length < _SMALL_BYTES)
        case 0x4:  # SETTINGS
            return _SETTINGS_COST + length // _BYTES_A_COST
        case 0x9:  # CONTINUATION, whose bytes are bounded as metadata
            return 1
        case _:
            return 1 + length // _BYTES_A_COST


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
