"""A grpclib server of raw messages that really ends."""

from typing import Any

from grpclib.encoding.base import CodecBase
from grpclib.server import Server


class RawCodec(CodecBase):
    """Messages are their bytes."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        """The bytes as they are."""
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        """The bytes as they are."""
        return data


class BreakingServer(Server):
    """grpclib's leaves its connections open when it is closed; a process that ends does not."""

    def __init__(self, services: Any, **options: Any) -> None:
        super().__init__(services, **options)
        self._protocols: list[Any] = []

    def _protocol_factory(self) -> Any:
        self._protocols.append(super()._protocol_factory())
        return self._protocols[-1]

    def close(self) -> None:
        """Stop listening and close every connection."""
        super().close()
        for protocol in self._protocols:
            if hasattr(protocol, "processor"):
                protocol.processor.close()
