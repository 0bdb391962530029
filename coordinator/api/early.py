"""Refusals before anything is parsed: in a crowd of requests each costs a tenth of one that is answered.

Only what came whole, in one piece, and with a head that can be read in one way; the rest goes the usual way.
"""

import re
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Final

from coordinator.api.pressing import Pressure
from coordinator.errors import Busy
from coordinator.telemetry.metrics import RequestMeter

_HEAD: Final = re.compile(
    rb"POST (/[!->@-~]*) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: *[!-~](?:[ -~]*[!-~])?\r\n){1,64})\r\n"
)
_NAME: Final = re.compile(rb"^([^:\r\n]+):", re.MULTILINE)
_LENGTH: Final = re.compile(rb"^content-length: *([0-9]{1,9})\r$", re.MULTILINE)
# With these the end of the request, or of the connection, is another.
_SPECIAL: Final = frozenset((b"transfer-encoding", b"connection", b"expect", b"upgrade", b"te", b"trailer"))


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

    @property
    def is_on(self) -> bool:
        """Whether anything may be refused here soon; cheap."""
        return self._pressure.is_near_full

    def refusal(self, data: bytes, address: Callable[[], str]) -> bytes | None:
        """The answer to these bytes, where they are a request that is refused as things are."""
        begun = self._begins.get(path_of(data))
        if begun is None:
            return None
        started, (is_driven, meter) = perf_counter(), begun
        if not self._pressure.is_full(is_driven=is_driven):
            self._pressure.expect()  # others come in the same turn of the loop, before this one is read
            return None
        try:
            self._pressure.ask(address(), is_driven)
        except Busy as error:
            answer = self._render(error)
            meter.done(False, perf_counter() - started)
            return answer
        self._pressure.answered()  # there is room, just now: it is asked for again when the request is read
        return None


def path_of(data: bytes) -> bytes:
    """The path of a POST, where these are all bytes of one request and nothing of another; else empty."""
    head = _HEAD.match(data)
    if head is None:
        return b""
    fields = head[2].lower()
    names = _NAME.findall(fields)
    length = _LENGTH.search(fields)
    if length is None or names.count(b"content-length") != 1 or names.count(b"host") != 1:
        return b""
    if not _SPECIAL.isdisjoint(names) or len(data) != head.end() + int(length[1]):
        return b""
    return head[1]
