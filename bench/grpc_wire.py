"""As little of a gRPC client as a load generator needs, so that it leaves the processor to what is measured.

Unary calls over HTTP/2 without encryption. The peer is asked to do without a table of header fields, and
what we send needs none: so header blocks do not depend on one another, each of ours is made once, and of the
peer's only the last one of a call is read; its message is passed over. At most STREAMS_MAX calls at a
time, of small messages: then the peer's flow control is never reached.
"""

import asyncio
import struct
from typing import Final, cast

from hpack import Decoder

STREAMS_MAX: Final = 32
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 0x1
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_HEADER_BYTES: Final = 9  # of a frame
_PRIORITY_BYTES: Final = 5
_HEADER_TABLE_SIZE, _WINDOW_BYTES = 1, 2**31 - 1
_FIRST_WINDOW_BYTES: Final = 65535
_OK: Final = "0"
_CONNECT_SECONDS: Final = 10


class CallFailed(Exception):
    """The call was not answered with OK; the text is code and message, or what became of the connection."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header_block(fields: dict[str, str]) -> bytes:
    """The fields, written out: nothing in it refers to a table, or goes into one."""
    return b"".join(b"\0" + _counted(name) + _counted(value) for name, value in fields.items())


def _counted(text: str) -> bytes:
    """A string of HPACK: its length as an integer with a prefix of 7 bits, then itself."""
    raw = text.encode()
    if len(raw) < 127:
        return bytes([len(raw)]) + raw
    length, rest = bytearray([127]), len(raw) - 127
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    return bytes([*length, rest]) + raw


class Connection(asyncio.Protocol):
    """One connection; `connect` makes it."""

    def __init__(self, authority: str, token: str = "") -> None:
        loop = asyncio.get_running_loop()
        self._authority = authority
        self._credential = {"authorization": f"Bearer {token}"} if token else {}
        self._ready: asyncio.Future[None] = loop.create_future()
        self._answers: dict[int, asyncio.Future[None]] = {}
        self._blocks: dict[str, bytes] = {}
        self._outcomes: dict[
            bytes, str
        ] = {}  # the last header block of an answer → what it says; OK is empty
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._stream = 1
        self._loop = loop

    async def ready(self) -> None:
        """Return once the peer keeps no table. Raises CallFailed."""
        await self._ready

    async def call(self, path: str, message: bytes) -> None:
        """One unary call. Raises CallFailed."""
        if self._transport is None:
            raise CallFailed("the connection is closed")
        stream, self._stream = self._stream, self._stream + 2
        answer: asyncio.Future[None] = self._loop.create_future()
        self._answers[stream] = answer
        block = self._blocks.get(path) or self._make_block(path)
        self._transport.write(
            frame(_HEADERS, _END_HEADERS, stream, block)
            + frame(_DATA, _END_STREAM, stream, b"\0" + struct.pack(">I", len(message)) + message)
        )
        await answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by name
        self._transport.write(
            _PREFACE
            + frame(_SETTINGS, 0, 0, struct.pack(">HI", _HEADER_TABLE_SIZE, 0))
            + frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW_BYTES - _FIRST_WINDOW_BYTES))
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(f"the connection was lost: {exc or 'closed by the server'}")

    def data_received(self, data: bytes) -> None:
        buffer, at = self._buffer + data, 0
        while len(buffer) - at >= _HEADER_BYTES:
            end = at + _HEADER_BYTES + int.from_bytes(buffer[at : at + 3], "big")
            if len(buffer) < end:
                break
            stream = int.from_bytes(buffer[at + 5 : at + _HEADER_BYTES], "big")
            self._take(buffer[at + 3], buffer[at + 4], stream, buffer[at + _HEADER_BYTES : end])
            at = end
        self._buffer = buffer[at:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        assert self._transport is not None
        if kind == _HEADERS and flags & _END_STREAM:
            self._answered(stream, self._outcome(flags, payload))
        elif kind == _DATA and flags & _END_STREAM:
            self._answered(stream, "an answer without a status")
        elif kind == _RST_STREAM:
            self._answered(stream, f"reset by the server: {payload.hex()}")
        elif kind == _SETTINGS and flags & _ACK:
            if not self._ready.done():
                self._ready.set_result(None)
        elif kind == _SETTINGS:
            self._transport.write(frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._transport.write(frame(_PING, _ACK, 0, payload))
        elif kind == _GOAWAY:
            self._fail(f"sent away by the server: {payload!r}")

    def _answered(self, stream: int, trouble: str) -> None:
        answer = self._answers.pop(stream, None)
        if answer is None or answer.done():
            return
        if trouble:
            answer.set_exception(CallFailed(trouble))
        else:
            answer.set_result(None)

    def _outcome(self, flags: int, payload: bytes) -> str:
        outcome = self._outcomes.get(payload)
        if outcome is None:
            start = (1 if flags & _PADDED else 0) + (_PRIORITY_BYTES if flags & _PRIORITY else 0)
            end = len(payload) - (payload[0] if flags & _PADDED else 0)
            fields = {str(name): str(value) for name, value in Decoder().decode(payload[start:end])}
            status, message = fields.get("grpc-status", "none"), fields.get("grpc-message", "")
            outcome = "" if status == _OK else f"status {status}: {message}"
            if not outcome:
                self._outcomes[payload] = outcome
        return outcome

    def _fail(self, why: str) -> None:
        if not self._ready.done():
            self._ready.set_exception(CallFailed(why))
        for stream in list(self._answers):
            self._answered(stream, why)

    def _make_block(self, path: str) -> bytes:
        self._blocks[path] = header_block(
            {
                ":method": "POST",
                ":scheme": "http",
                ":path": path,
                ":authority": self._authority,
                "te": "trailers",
                "content-type": "application/grpc",
                "user-agent": "grpc-bench",
                **self._credential,
            }
        )
        return self._blocks[path]


async def connect(host: str, port: int, token: str = "") -> Connection:
    """A connection that is ready for calls. token: sent with each; empty: none.

    Raises OSError, TimeoutError among it, and CallFailed.
    """
    authority = f"{host}:{port}"
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(authority, token), host, port
    )
    async with asyncio.timeout(_CONNECT_SECONDS):
        await connection.ready()
    return connection
