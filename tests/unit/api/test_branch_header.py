"""Which branch's answer an error comes from: a header over HTTP, metadata over gRPC; all else as ever."""

import json

import pytest
from grpclib.client import Channel
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError

from coordinator.api.branch_header import BYTES_MAX, NAME, branch_header
from coordinator.errors import BranchAnswer, DtmError, Failure, NoResult, Ongoing
from coordinator.proto.dtmgimp import DtmRequest
from coordinator.proto.google.protobuf import Empty
from tests.unit.api.fakes import Grpc, Http

ANSWER = BranchAnswer("http://h/a", "02", "action", 409, '{"message":"keine Birne übrig"}')
SHOWN = {
    "url": "http://h/a",
    "branch_id": "02",
    "op": "action",
    "status": 409,
    "said": '{"message":"keine Birne übrig"}',
}


ERRORS = [Failure("url:http://h/a return failed: no"), Ongoing(), NoResult("boom")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda it: type(it).__name__)
async def test_over_http_it_is_a_header_and_the_body_is_as_ever(http: Http, error: DtmError) -> None:
    http.service.error = error.because_of(None)
    plain = await http.post("submit", "{}")
    http.service.error = error.because_of(ANSWER)
    async with http.session.post(f"{http.url}/api/dtmsvr/submit", data="{}") as answer:
        assert json.loads(answer.headers["Dtm-Branch"]) == SHOWN
        assert (answer.status, answer.headers["Content-Type"], await answer.text()) == plain
        assert answer.headers["Cache-Control"] == "no-store"
    async with http.session.post(f"{http.url}/api/dtmsvr/submit", data="{}") as answer:
        assert json.loads(answer.headers["Dtm-Branch"]) == SHOWN  # one connection, many of them


async def refusal(channel: Channel) -> tuple[str, str]:
    """The message of a refused submit, and the metadata that came with it."""
    path = "/dtmgimp.Dtm/Submit"
    with pytest.raises(GRPCError) as caught:
        async with channel.request(path, Cardinality.UNARY_UNARY, DtmRequest, Empty) as stream:
            await stream.send_message(DtmRequest(), end=True)
            await stream.recv_message()
    return caught.value.message or "", str((stream.trailing_metadata or {}).get(NAME, ""))


@pytest.mark.parametrize("error", ERRORS, ids=lambda it: type(it).__name__)
async def test_over_grpc_it_is_metadata_and_the_message_is_as_ever(grpc: Grpc, error: DtmError) -> None:
    grpc.service.error = error.because_of(None)
    message, nothing = await refusal(grpc.channel)
    assert (message, nothing) == (error.message, "")
    grpc.service.error = error.because_of(ANSWER)
    again, metadata = await refusal(grpc.channel)
    assert again == message
    assert json.loads(metadata) == SHOWN
    assert grpc.metric('dtm_server_process_total{api="submit",status="fail",type="grpc"}') == 2


@pytest.mark.parametrize("character", ["z", "ü", "事", "😀", '"', "\n"])
@pytest.mark.parametrize("length", [0, 100, 5000, 1_000_000])
def test_it_always_fits_its_header(character: str, length: int) -> None:
    said = "begins " + character * length + " ends"
    answer = BranchAnswer("http://h/" + "a" * 1000, "01", "action", None, said)
    [(_, header)] = branch_header(DtmError("x").because_of(answer)).items()
    assert len(header) <= BYTES_MAX
    assert header.isascii() and header.isprintable()
    shown = json.loads(header)["said"]
    assert shown == said if length <= 100 and character != "😀" else shown.startswith("begins")
