"""The gRPC messages of the protocol ↔ our nouns (PROTOCOL §4).

Requests are decoded by protobuf's own runtime, from the descriptors that server reflection needs anyway: it
refuses a message that is cut short or holds text that is not UTF-8, and never gives a field of the wrong kind
(betterproto2 takes a truncated gid for a shorter one), and needs 5 µs for a two-step saga instead of 34.
"""

from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from coordinator.api.decode import steps_from
from coordinator.api.fields import checked_count, parse, wrong_type
from coordinator.errors import Invalid
from coordinator.model import PROTOCOL_GRPC, Options, Step, TransactionRequest
from coordinator.proto import register_descriptors

_NO_OPTIONS: Final = Options()


class Messages:
    """Decodes and encodes; holds the message classes."""

    def __init__(self) -> None:
        """Register our descriptors with protobuf's default pool, and look the messages up there."""
        register_descriptors()
        self._request: Any = _message_class("dtmgimp.DtmRequest")
        self._gid_reply: Any = _message_class("dtmgimp.DtmGidReply")

    def decode_request(self, data: bytes) -> TransactionRequest:
        """Decode a DtmRequest. Raises Invalid, naming the field, for anything that is none."""
        try:
            message = self._request.FromString(data)
        except DecodeError as error:
            raise Invalid(f"the message is not a dtmgimp.DtmRequest: {error}") from error
        return TransactionRequest(
            message.Gid,
            message.TransType,
            _steps(message.Steps),
            tuple(message.BinPayloads),
            message.QueryPrepared,
            PROTOCOL_GRPC,
            _options(message.TransOptions) if message.HasField("TransOptions") else _NO_OPTIONS,
            message.CustomedData,
            message.RollbackReason,
            dict(message.ReqExtra),
        )

    def encode_gid(self, gid: str) -> bytes:
        """Encode a DtmGidReply."""
        encoded: bytes = self._gid_reply(Gid=gid).SerializeToString()
        return encoded


def _message_class(name: str) -> Any:
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))


def _steps(text: str) -> tuple[Step, ...]:
    if not text:
        return ()
    given = parse(text, "Steps")
    if given is None:
        return ()
    if type(given) is not list:
        raise wrong_type("Steps", "a JSON array", given)
    return steps_from(given, "Steps")


def _options(given: Any) -> Options:
    return Options(
        given.WaitResult,
        checked_count(given.TimeoutToFail, "TransOptions.TimeoutToFail"),
        checked_count(given.RequestTimeout, "TransOptions.RequestTimeout"),
        checked_count(given.RetryInterval, "TransOptions.RetryInterval"),
        checked_count(given.RetryLimit, "TransOptions.RetryLimit"),
        branch_headers=dict(given.BranchHeaders),
    )
