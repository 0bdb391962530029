"""A gRPC client that can send what no proper client would."""

from dataclasses import dataclass
from struct import pack
from typing import Any

from grpclib.client import Channel
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError


class Raw:
    """A message that is its bytes."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def SerializeToString(self) -> bytes:
        return self.data

    @classmethod
    def FromString(cls, data: bytes) -> "Raw":
        return cls(data)


@dataclass(frozen=True)
class Reply:
    status: int
    message: str
    data: bytes


async def call(channel: Channel, path: str, data: bytes, timeout: float | None = 10) -> Reply:
    """Make one call with one message."""
    return await call_framed(channel, path, pack(">?I", False, len(data)) + data, timeout)


async def call_framed(channel: Channel, path: str, framed: bytes, timeout: float | None = 10) -> Reply:
    """Make one call whose body is these bytes, length prefix included."""
    try:
        async with channel.request(path, Cardinality.UNARY_UNARY, Raw, Raw, timeout=timeout) as stream:
            await stream.send_request()
            inside: Any = stream
            await inside._stream.send_data(framed, end_stream=True)
            inside._send_message_done = inside._end_done = True
            reply = await stream.recv_message()
            await stream.recv_trailing_metadata()
    except GRPCError as error:
        return Reply(error.status.value, error.message or "", b"")
    return Reply(0, "", reply.data if reply is not None else b"")
