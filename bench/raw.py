"""gRPC without messages: bytes in, bytes out, so that neither end of a measurement spends time on them."""

from typing import Any

from grpclib.encoding.base import CodecBase


class RawCodec(CodecBase):
    """Leaves every message as the bytes that it is."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data
