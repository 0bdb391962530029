"""DtmRequest → TransactionRequest (PROTOCOL §4), from what our client writes and from any other bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from coordinator.api.grpc_messages import Messages
from coordinator.errors import Invalid
from coordinator.model import Options, Step, TransactionRequest
from coordinator.proto.dtmgimp import DtmGidReply, DtmRequest, DtmTransOptions

MESSAGES = Messages()
STEPS = '[{"action":"host:1/a.B/C","compensate":"host:1/a.B/D"},{"Action":"x"}]'


def decode(request: DtmRequest) -> TransactionRequest:
    return MESSAGES.request(bytes(request))


def test_every_field() -> None:
    request = DtmRequest(
        gid="g1",
        trans_type="saga",
        trans_options=DtmTransOptions(
            wait_result=True,
            timeout_to_fail=1,
            retry_interval=2,
            branch_headers={"x-team": "blue"},
            request_timeout=3,
            retry_limit=4,
        ),
        customed_data='{"concurrent":true}',
        bin_payloads=[b"\x00\xff", b""],
        query_prepared="host:1/a.B/Q",
        steps=STEPS,
        req_extra={"status": "succeed"},
        rollback_reason="because",
    )
    assert decode(request) == TransactionRequest(
        gid="g1",
        trans_type="saga",
        steps=(Step("host:1/a.B/C", "host:1/a.B/D"), Step("x", "")),
        payloads=(b"\x00\xff", b""),
        query_prepared="host:1/a.B/Q",
        protocol="grpc",
        options=Options(
            wait_result=True,
            timeout_to_fail=1,
            request_timeout=3,
            retry_interval=2,
            retry_limit=4,
            branch_headers={"x-team": "blue"},
        ),
        custom_data='{"concurrent":true}',
        rollback_reason="because",
        req_extra={"status": "succeed"},
    )


def test_an_empty_message_has_every_default() -> None:
    assert MESSAGES.request(b"") == TransactionRequest(gid="", trans_type="", protocol="grpc")
    assert decode(DtmRequest(trans_options=DtmTransOptions())).options == Options()
    assert decode(DtmRequest(steps="null")).steps == ()


def test_fields_of_a_newer_protocol_are_ignored() -> None:
    assert MESSAGES.request(bytes(DtmRequest(gid="g1")) + b"\xfa\x01\x01x").gid == "g1"


BAD = [
    # of the message
    (b"\x0a\x05ab", "the message is not a dtmgimp.DtmRequest"),  # a gid cut short
    (b"\xff", "the message is not a dtmgimp.DtmRequest"),
    (b"\x0a\x02\xff\xfe", "the message is not a dtmgimp.DtmRequest"),  # a gid that is not UTF-8
    (b"\x1a\x02\x08", "the message is not a dtmgimp.DtmRequest"),  # options cut short
    (b"no protobuf", "the message is not a dtmgimp.DtmRequest"),
    # of the steps
    (DtmRequest(steps="no json"), "Steps is not JSON"),
    (DtmRequest(steps="{}"), "Steps: must be a JSON array, not an object"),
    (DtmRequest(steps="[1]"), "Steps[0]: must be an object, not a number"),
    (DtmRequest(steps='[{},{"action":1}]'), "Steps[1].action: must be a string, not a number"),
    (DtmRequest(steps="[] x"), "Steps is not JSON"),
    # of the options
    (
        DtmRequest(trans_options=DtmTransOptions(timeout_to_fail=-1)),
        "TransOptions.TimeoutToFail: must not be neg",
    ),
    (
        DtmRequest(trans_options=DtmTransOptions(retry_interval=-1)),
        "TransOptions.RetryInterval: must not be neg",
    ),
    (
        DtmRequest(trans_options=DtmTransOptions(request_timeout=-1)),
        "TransOptions.RequestTimeout: must not be n",
    ),
    (
        DtmRequest(trans_options=DtmTransOptions(retry_limit=-1)),
        "TransOptions.RetryLimit: must not be negative",
    ),
]


@pytest.mark.parametrize(("message", "sentence"), BAD, ids=range(len(BAD)))
def test_bad_input_is_named(message: DtmRequest | bytes, sentence: str) -> None:
    with pytest.raises(Invalid) as raised:
        MESSAGES.request(bytes(message))
    assert raised.value.message.startswith(sentence)


def test_a_field_of_another_wire_type_never_gives_a_value_of_another_type() -> None:
    assert MESSAGES.request(b"\x08\x01").gid == ""  # field 1 as a number: no gid, which the service refuses


def test_the_answer_to_new_gid() -> None:
    assert DtmGidReply.parse(MESSAGES.encode_gid("gid-1")).gid == "gid-1"


@given(some.binary())
def test_any_bytes_are_a_request_or_invalid(data: bytes) -> None:
    _is_request_or_invalid(data)


@given(some.binary(), some.integers(0, 200), some.binary(max_size=3))
def test_a_damaged_request_is_a_request_or_invalid(payload: bytes, place: int, damage: bytes) -> None:
    data = bytes(DtmRequest(gid="g1", trans_type="saga", steps=STEPS, bin_payloads=[payload]))
    _is_request_or_invalid(data[:place] + damage + data[place + 1 :])


@given(some.text())
def test_any_steps_are_steps_or_invalid(steps: str) -> None:
    if steps.isprintable():
        _is_request_or_invalid(bytes(DtmRequest(steps=steps)))


def _is_request_or_invalid(data: bytes) -> None:
    try:
        request = MESSAGES.request(data)
    except Invalid as error:
        assert error.message
        return
    assert type(request.gid) is str
    assert type(request.options.timeout_to_fail) is int
    assert all(type(payload) is bytes for payload in request.payloads)
