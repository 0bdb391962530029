"""Requests that begin a transaction are refused before they are read, and told when to come again."""

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from coordinator.proto.dtmgimp import DtmBranchRequest, DtmRequest, DtmStub
from tests.unit.api.fakes import Crowded, grpc_api, http_api

NO_JSON = "{ this would be refused in other words"


@pytest.mark.parametrize(
    ("name", "is_driven"), [("submit", True), ("prepare", False), ("prepareWorkflow", False)]
)
async def test_over_http(name: str, is_driven: bool) -> None:
    asked = Crowded()
    async with http_api(pressure=asked) as http:
        url = f"{http.url}/api/dtmsvr/{name}"
        async with http.session.post(url, data=NO_JSON) as answer:
            assert (answer.status, await answer.json()) == (503, {"message": "too much"})
            assert answer.headers["Retry-After"] == "7"
    assert asked.by == [("127.0.0.1", is_driven)]


@pytest.mark.parametrize("name", ["abort", "registerBranch", "forceStop"])
async def test_what_belongs_to_a_transaction_that_was_accepted_is_not_asked_for(name: str) -> None:
    asked = Crowded()
    async with http_api(pressure=asked) as http:
        status, _, text = await http.post(name, NO_JSON)
        assert (status != 503, "too much" in text) == (True, False)
    assert asked.by == []


async def test_over_grpc() -> None:
    asked = Crowded()
    async with grpc_api(pressure=asked) as grpc:
        stub = DtmStub(grpc.channel)
        for call, is_driven in ((stub.submit, True), (stub.prepare, False)):
            with pytest.raises(GRPCError) as refused:
                await call(DtmRequest(gid="g"))
            assert (refused.value.status, refused.value.message) == (Status.RESOURCE_EXHAUSTED, "too much")
            assert asked.by[-1] == ("127.0.0.1", is_driven)
        await stub.register_branch(DtmBranchRequest(gid="g", branch_id="01", op="action"))
    assert len(asked.by) == 2
    assert asked.over == 0


@pytest.mark.parametrize("body", ['{"gid": "g", "trans_type": "saga"}', NO_JSON])
async def test_what_was_taken_in_is_over_with_its_answer(body: str) -> None:
    asked = Crowded(is_full=False, refuses=False)
    async with http_api(pressure=asked) as http:
        await http.post("submit", body)
        assert asked.over == 1
    async with grpc_api(pressure=asked) as grpc:
        await DtmStub(grpc.channel).submit(DtmRequest(gid="g", trans_type="saga"))
    assert asked.over == 2
