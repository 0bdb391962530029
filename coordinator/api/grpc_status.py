"""What an error's sentence may take of a gRPC answer, where it travels as a header. Pure."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from grpclib.exceptions import GRPCError
from grpclib.metadata import encode_grpc_message
from grpclib.server import Stream

MESSAGE_BYTES_MAX: Final = 6000  # encoded; clients on gRPC's C core take 8 KiB of headers
_ENCODED_BYTES_MAX: Final = 12  # of one character

_Call = Callable[[Stream[Any, Any]], Awaitable[None]]


def shortened(message: str) -> str:
    """Return the message, its middle cut out when it is too long for a header.

    The end stays, because clients look there for FAILURE and ONGOING (PROTOCOL §2).
    """
    if len(message) * _ENCODED_BYTES_MAX <= MESSAGE_BYTES_MAX:
        return message
    half = MESSAGE_BYTES_MAX // 2
    kept = message if len(message) <= MESSAGE_BYTES_MAX else f"{message[:half]}…{message[-half:]}"
    while len(encode_grpc_message(kept)) > MESSAGE_BYTES_MAX:
        half = half * 3 // 4
        kept = f"{message[:half]}…{message[-half:]}"
    return kept


def with_short_errors(call: _Call) -> _Call:
    """The same call, whose errors fit a header.

    A longer one breaks the client's connection, or never arrives: HPACK's Huffman code takes a second for
    100 KB and minutes for a megabyte, during which the event loop stands still.
    """

    async def shortening(stream: Stream[Any, Any]) -> None:
        try:
            await call(stream)
        except GRPCError as error:
            if error.message is None or (short := shortened(error.message)) == error.message:
                raise
            raise GRPCError(error.status, short, error.details) from error

    return shortening
