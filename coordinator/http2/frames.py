"""HTTP/2's frames, as they come and as they are written (RFC 9113). Pure."""

import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final, NamedTuple

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, HAS_PRIORITY = 0x4, 0x8, 0x20
TABLE_BYTES, PUSHES, STREAMS_MAX, STREAM_WINDOW, FRAME_BYTES, HEADERS_BYTES = range(1, 7)  # of SETTINGS
FRAME_BYTES_LEAST: Final = 16_384  # what everybody takes
FRAME_BYTES_MOST: Final = 2**24 - 1
WINDOW_FIRST: Final = 65_535
WINDOW_MAX: Final = 2**31 - 1
STREAM_NUMBER_MAX: Final = 2**31 - 1

_HEADER: Final = struct.Struct(">HBBBI")
_HEADER_BYTES: Final = 9
_SETTING: Final = struct.Struct(">HI")
_PRIORITY_BYTES: Final = 5
_NUMBER: Final = 0x7FFFFFFF  # the first bit is reserved
_KIND_AND_FLAGS_AT: Final = 3  # in a frame's header
_ANY: Final = (0, 2**32 - 1)
_POSSIBLE: Final = {PUSHES: (0, 1), FRAME_BYTES: (FRAME_BYTES_LEAST, FRAME_BYTES_MOST)}


class Code(IntEnum):
    """Why a stream or a connection ends (RFC 9113 §7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class FrameError(Exception):
    """What came is no HTTP/2, or nothing that may come here: what follows cannot be read.

    code: what the other end is told.
    """

    def __init__(self, text: str, code: Code = Code.PROTOCOL_ERROR) -> None:
        super().__init__(text)
        self.code = code


class Frame(NamedTuple):
    """A frame, read."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    def content(self) -> bytes:
        """The payload of DATA or HEADERS without padding and priority. Raises FrameError."""
        content, flags = self.payload, self.flags
        if flags & PADDED:
            padding = content[0] if content else 256
            if padding >= len(content):
                raise FrameError("a frame has more padding than bytes")
            content = content[1 : len(content) - padding]
        if self.kind == HEADERS and flags & HAS_PRIORITY:
            if len(content) < _PRIORITY_BYTES:
                raise FrameError("a frame is too short for its priority", Code.FRAME_SIZE_ERROR)
            content = content[_PRIORITY_BYTES:]
        return content


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame, written."""
    length = len(payload)
    return _HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def head(kind: int, flags: int, length: int) -> bytes:
    """A frame up to the number of its stream, for one that is written often: number and payload follow."""
    return _HEADER.pack(length >> 8, length & 0xFF, kind, flags, 0)[: _KIND_AND_FLAGS_AT + 2]


def number(value: int) -> bytes:
    """A number as frames have it: of a stream, of a window, of a reason."""
    return value.to_bytes(4, "big")


def settings(values: Mapping[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join([_SETTING.pack(*pair) for pair in values.items()]))


def settings_in(payload: bytes) -> list[tuple[int, int]]:
    """What a SETTINGS frame says. Raises FrameError, also for a value that nobody can have."""
    if len(payload) % _SETTING.size:
        raise FrameError("a frame of settings has half a setting", Code.FRAME_SIZE_ERROR)
    values: list[tuple[int, int]] = list(_SETTING.iter_unpack(payload))
    for name, value in values:
        if name == STREAM_WINDOW and value > WINDOW_MAX:
            raise FrameError(f"a window of {value} bytes is too large", Code.FLOW_CONTROL_ERROR)
        if not _POSSIBLE.get(name, _ANY)[0] <= value <= _POSSIBLE.get(name, _ANY)[1]:
            raise FrameError(f"the setting {name} has the value {value}")
    return values


def number_in(payload: bytes) -> int:
    """The number that a frame begins with. Raises FrameError."""
    if len(payload) < 4:
        raise FrameError("a frame is too short", Code.FRAME_SIZE_ERROR)
    return int.from_bytes(payload[:4], "big") & _NUMBER


class Frames(Iterable[Frame]):
    """Cuts what comes into frames. Who iterates gets each that is whole, once, and may stop between."""

    def __init__(self) -> None:
        self._data = b""
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def clear(self) -> None:
        """Forget what is left."""
        self._data, self._at = b"", 0

    def __iter__(self) -> "Frames":
        return self

    def __next__(self) -> Frame:
        """The next frame. Raises FrameError for one that is too long."""
        data, at = self._data, self._at
        begin = at + _HEADER_BYTES
        if begin > len(data):
            raise StopIteration
        high, low, kind, flags, stream = _HEADER.unpack_from(data, at)
        length = high << 8 | low
        if length > FRAME_BYTES_LEAST:
            raise FrameError(f"a frame of {length} bytes came, if this is HTTP/2", Code.FRAME_SIZE_ERROR)
        end = begin + length
        if end > len(data):
            raise StopIteration
        self._at = end
        return Frame(kind, flags, stream & _NUMBER, data[begin:end])

    @property
    def has_more(self) -> bool:
        """Whether another frame is whole, or is known to be none."""
        left = len(self._data) - self._at
        if left < _HEADER_BYTES:
            return False
        length = int.from_bytes(self._data[self._at : self._at + 3], "big")
        return length > FRAME_BYTES_LEAST or left - _HEADER_BYTES >= length
