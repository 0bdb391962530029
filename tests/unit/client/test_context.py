"""Which branch is being handled: read from a request, kept for the handler."""

import asyncio

import pytest

from coordinator.client import BranchContext, NoBranchContext, as_current, current_branch

QUERY = {"gid": "g1", "trans_type": "saga", "branch_id": "01", "op": "action"}
METADATA = {f"dtm-{name}": value for name, value in QUERY.items()}


def test_from_a_query_string_and_from_grpc_metadata() -> None:
    expected = BranchContext(gid="g1", trans_type="saga", branch_id="01", op="action")
    assert BranchContext.from_query({**QUERY, "own": "parameter"}) == expected
    assert BranchContext.from_metadata({**METADATA, "user-agent": "go"}) == expected


@pytest.mark.parametrize("name", ["gid", "trans_type", "branch_id", "op"])
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(NoBranchContext, match=f"the query string lacks {name}:"):
        BranchContext.from_query({**QUERY, name: ""})
    with pytest.raises(NoBranchContext, match=f"the gRPC metadata lacks dtm-{name}:"):
        BranchContext.from_metadata({key: value for key, value in METADATA.items() if key != f"dtm-{name}"})


def test_outside_of_a_handler_there_is_none() -> None:
    with pytest.raises(NoBranchContext, match="no branch call is being handled here"):
        current_branch()


def test_an_error_of_reading_is_raised_where_the_context_is_asked_for() -> None:
    with (
        as_current(NoBranchContext("the query string lacks gid")),
        pytest.raises(NoBranchContext, match="lacks gid"),
    ):
        current_branch()


async def test_each_task_has_its_own() -> None:
    async def handle(gid: str) -> str:
        with as_current(BranchContext.from_query({**QUERY, "gid": gid})):
            await asyncio.sleep(0)
            return current_branch().gid

    assert await asyncio.gather(*(handle(f"g{number}") for number in range(5))) == [f"g{n}" for n in range(5)]
