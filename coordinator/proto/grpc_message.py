"""What a sentence may take of a gRPC answer, where it travels as the header `grpc-message`. Pure."""

from typing import Final

from grpclib.metadata import encode_grpc_message

MESSAGE_BYTES_MAX: Final = 6000  # encoded; clients on gRPC's C core take 8 KiB of headers
_ENCODED_BYTES_MAX: Final = 12  # of one character


def shortened(message: str) -> str:
    """Return the message, its middle cut out when it is too long for a header.

    The end stays, because clients look there for FAILURE and ONGOING (PROTOCOL §2). A longer message breaks
    the connection, or never arrives: HPACK's Huffman code takes a second for 100 KB and minutes for a
    megabyte, during which the event loop stands still.
    """
    if len(message) * _ENCODED_BYTES_MAX <= MESSAGE_BYTES_MAX:
        return message
    half = MESSAGE_BYTES_MAX // 2
    kept = message if len(message) <= MESSAGE_BYTES_MAX else f"{message[:half]}…{message[-half:]}"
    while len(encode_grpc_message(kept)) > MESSAGE_BYTES_MAX:
        half = half * 3 // 4
        kept = f"{message[:half]}…{message[-half:]}"
    return kept
