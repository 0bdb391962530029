"""Refusals before anything is parsed: in a crowd of requests each costs a tenth of one that is answered.

Only what came whole, in one piece and with the plainest head is answered here; the rest goes the usual way.
"""

import re
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Final

from coordinator.api.pressing import Pressure
from coordinator.errors import Busy
from coordinator.telemetry.metrics import RequestMeter

_LINE: Final = re.compile(rb"POST (/[^ ?]*) HTTP/1\.1\r\n")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]{1,9}) *(?=\r\n)", re.IGNORECASE)
# What would make the end of the request, or of the connection, another.
_SPECIAL: Final = re.compile(
    rb"\r\n(?:[ \t]|(?:transfer-encoding|connection|expect|upgrade) *:)", re.IGNORECASE
)
_END: Final = b"\r\n\r\n"


class Early:
    """Of one HTTP API. begins: path → whether what is begun there is driven at once, and its meter.

    render: the answer to an error, head and body.
    """

    def __init__(
        self,
        pressure: Pressure,
        begins: Mapping[bytes, tuple[bool, RequestMeter]],
        render: Callable[[Busy], bytes],
    ) -> None:
        self._pressure = pressure
        self._begins = begins
        self._render = render

    def refusal(self, data: bytes, address: Callable[[], str]) -> bytes | None:
        """The answer to these bytes, where they are a request that is refused as things are."""
        if not self._pressure.is_full or (line := _LINE.match(data)) is None:
            return None
        begun = self._begins.get(line[1])
        if begun is None or not _is_whole(data):
            return None
        started, (is_driven, meter) = perf_counter(), begun
        try:
            self._pressure.ask(address(), is_driven)
        except Busy as error:
            answer = self._render(error)
            meter.done(False, perf_counter() - started)
            return answer
        self._pressure.answered()  # there is room, just now: it is asked for again when the request is read
        return None


def _is_whole(data: bytes) -> bool:
    """Whether these are all bytes of one request, as its head has it."""
    end = data.find(_END)
    lengths = _LENGTH.findall(data, 0, end + 2)
    if end < 0 or len(lengths) != 1 or _SPECIAL.search(data, 0, end):
        return False
    return len(data) == end + len(_END) + int(lengths[0])
