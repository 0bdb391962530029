"""What one transaction of each pattern asks of the coordinator (PROTOCOL §3, §4, §5)."""

import json

import pytest
from google.protobuf import descriptor_pool, message_factory

from bench.transactions import BRANCH_ONLY, GID, PATTERNS, grpc_calls, http_calls

CALLS = {
    "saga": ["submit"],
    "tcc": ["prepare", "registerBranch", "registerBranch", "submit"],
    "msg": ["prepare", "submit"],
    "xa": ["prepare", "registerBranch", "registerBranch", "submit"],
    "workflow": ["prepareWorkflow", "registerBranch", "registerBranch", "submit"],
}


def decoded(path: str, body: bytes):
    name = "DtmBranchRequest" if path.endswith("RegisterBranch") else "DtmRequest"
    pool = descriptor_pool.Default()
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"dtmgimp.{name}")).FromString(body)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_calls_come_in_the_order_of_the_protocol(pattern):
    names = [call.path.rpartition("/")[2] for call in http_calls(pattern, "http://branch")]
    assert names == CALLS[pattern]
    names = [call.path.rpartition("/")[2] for call in grpc_calls(pattern, "branch:1")]
    assert names == [name[0].upper() + name[1:] for name in CALLS[pattern]]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_another_gid_of_the_same_length_leaves_each_call_whole(pattern):
    gid = "x" * len(GID)
    for call in http_calls(pattern, "http://branch"):
        assert json.loads(call.body.decode().replace(GID, gid))["gid"] == gid
    for call in grpc_calls(pattern, "branch:1"):
        assert decoded(call.path, call.body.replace(GID.encode(), gid.encode())).Gid == gid


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_last_call_alone_waits_for_the_result(pattern):
    waits = ["wait_result" in json.loads(call.body) for call in http_calls(pattern, "http://branch")]
    assert waits == [False] * (len(CALLS[pattern]) - 1) + [True]
    *_, last = grpc_calls(pattern, "branch:1")
    assert decoded(last.path, last.body).TransOptions.WaitResult


@pytest.mark.parametrize("pattern", ["tcc", "xa", "workflow"])
def test_two_branches_of_their_own_are_registered(pattern):
    registered = [json.loads(call.body) for call in http_calls(pattern, "http://branch")[1:3]]
    assert [it["branch_id"] for it in registered] == ["01", "02"]


def test_the_branch_alone_is_one_call():
    assert [call.path for call in http_calls(BRANCH_ONLY, "http://branch")] == ["/TransOut"]
    assert [call.path for call in grpc_calls(BRANCH_ONLY, "branch:1")] == ["/bench.Branch/TransOut"]
