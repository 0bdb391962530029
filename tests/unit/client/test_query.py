"""`query` as types."""

from datetime import datetime

import pytest

from coordinator.client import BranchStatus, Dtm, DtmError, InvalidUse, Status
from tests.unit.client.fake_coordinator import fake_grpc_coordinator, fake_http_coordinator

STORED = """ {"transaction": {"id": 3, "create_time": "2024-05-01T10:00:00+08:00", "update_time":
"2024-05-01T10:00:01+08:00",
  "gid": "g1", "trans_type": "saga", "status": "failed", "protocol": "grpc", "rollback_time":
  "2024-05-01T10:00:01+08:00", "rollback_reason": "no money FAILURE", "options": "{\\"concurrent\\":false}",
  "next_cron_interval": 10, "next_cron_time": "2024-05-01T10:00:10+08:00", "concurrent": false},
 "branches": [{"id": 1, "create_time": "2024-05-01T10:00:00+08:00", "update_time":
 "2024-05-01T10:00:00+08:00",
  "gid": "g1", "url": "b:1/x.Y/Z", "bin_data": "/w==", "branch_id": "01", "op": "action", "status": "failed",
  "finish_time": "2024-05-01T10:00:01+08:00"}]}
"""


async def test_a_stored_transaction_and_its_branches() -> None:
    async with fake_http_coordinator() as fake, Dtm(fake.url) as dtm:
        fake.query_answer = STORED
        transaction = await dtm.query("g1")
    assert transaction is not None and transaction.is_final
    assert transaction.status is Status.FAILED
    assert transaction.rollback_reason == "no money FAILURE"
    assert transaction.create_time == datetime.fromisoformat("2024-05-01T10:00:00+08:00")
    assert transaction.finish_time is None
    (branch,) = transaction.branches
    assert (branch.branch_id, branch.op, branch.status) == ("01", "action", BranchStatus.FAILED)
    assert branch.payload == b"\xff"
    assert transaction.raw["transaction"]["next_cron_interval"] == 10


async def test_an_unknown_gid_is_none() -> None:
    async with fake_http_coordinator() as fake, Dtm(fake.url) as dtm:
        assert await dtm.query("nobody") is None


@pytest.mark.parametrize("answer", ["<html>", "[]", '{"transaction": {"gid": "g1"}}'])
async def test_something_else_than_a_coordinator_is_said(answer: str) -> None:
    async with fake_http_coordinator() as fake, Dtm(fake.url) as dtm:
        fake.query_answer = answer
        with pytest.raises(DtmError, match="answered"):
            await dtm.query("g1")


async def test_the_go_client_s_form_of_the_url_is_taken() -> None:
    async with fake_http_coordinator() as fake, Dtm(f"{fake.url}/api/dtmsvr") as dtm:
        assert await dtm.query("nobody") is None


@pytest.mark.parametrize("name", ["query", "wait", "stop", "retry"])
async def test_a_server_without_such_a_call_over_grpc_is_to_be_asked_over_http(name: str) -> None:
    async with fake_grpc_coordinator() as fake, Dtm(fake.url) as dtm:
        with pytest.raises(InvalidUse, match=r"needs HTTP: the coordinator at .* has no such call over gRPC"):
            await getattr(dtm, name)("g1")
