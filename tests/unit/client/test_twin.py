"""The blocking client has what the async one has: the same names, methods and options."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from coordinator import client
from coordinator.client import sync

# Of both: what is no I/O has no blocking form of its own.
SHARED = {
    *("BarrierRow", "BarrierTransaction", "BranchAnswer", "BranchContext", "BranchStatus", "BranchView"),
    *("FromResult", "Said", "TransactionPage", "encode_json", "from_result"),
    *(
        "Outcome",
        "Payload",
        "RedisCommands",
        "Retry",
        "Status",
        "Submitted",
        "TransactionOptions",
        "TransactionView",
    ),
    *("XaTransaction", "as_current", "branch_of", "current_branch"),
    *("BarrierError", "DtmError", "Duplicated", "Failure", "InvalidUse", "Mismatch", "NoBranchContext"),
    "Ongoing",
    *("MissingExtra", "Unreachable"),
}
# Of servers and drivers that are async themselves; the table is made by `dtm barrier-table`, too.
ASYNC = {
    *("BarrierDatabase", "CursorBarrier", "MySqlBarrier", "SqliteBarrier", "create_barrier_table"),
    *("BranchMiddleware", "BranchServer", "branch_method", "branch_middleware", "error_response"),
    *("query_prepared_handler", "query_prepared_service", "LocalCall"),
}
# Where the other side is reached otherwise: of a framework, or a matter of the class alone.
OTHERWISE = {
    "Barrier": {"own_reason", "rolled_back"},
    "Dtm": {"coordinator"},
    "Tcc": {"gid"},  # which is an attribute there
    "Xa": {"gid"},
    "Workflows": {"handler", "service"},
}
OPTIONAL = {"wait_result": False, "branch_headers": None}  # the other options are numbers
CLASSES = ["Dtm", "Saga", "Msg", "Tcc", "Xa", "XaBranch", "Barrier", "RedisBarrier", "Workflow", "Workflows"]


def parameters(function: Callable[..., Any]) -> list[tuple[str, Any]]:
    """Names and defaults; `**options` are the options of transactions."""
    found = []
    for one in inspect.signature(function).parameters.values():
        if one.kind is inspect.Parameter.VAR_KEYWORD:
            found += [(name, OPTIONAL.get(name, 0)) for name in client.TransactionOptions.__annotations__]
        else:
            found.append((one.name, one.default))
    return sorted(found, key=lambda it: it[0])


def public(member: type) -> dict[str, Any]:
    return {name: it for name, it in inspect.getmembers(member) if not name.startswith("_")}


def test_every_name_is_there() -> None:
    assert set(client.__all__) - SHARED - ASYNC - set(sync.__all__) == set()


@pytest.mark.parametrize("name", CLASSES)
def test_every_method_is_there_with_the_same_parameters(name: str) -> None:
    ours, twin = public(getattr(client, name)), public(getattr(sync, name))
    assert set(ours) - OTHERWISE.get(name, set()) - set(twin) == set()
    for method in set(ours) & set(twin):
        if inspect.isfunction(ours[method]) and inspect.isfunction(twin[method]):
            assert parameters(twin[method]) == parameters(ours[method]), method


@pytest.mark.parametrize(
    "name",
    ["Dtm", "Workflows", "RedisBarrier", "barrier", "query_prepared", "redis_query_prepared", "workflow"],
)
def test_they_are_made_alike(name: str) -> None:
    assert parameters(getattr(sync, name)) == parameters(getattr(client, name))


def test_the_decorator_has_one_parameter_more() -> None:
    ours, twin = parameters(client.with_barrier), parameters(sync.with_barrier)
    assert [one for one in twin if one not in ours] == [("request", None)]
    assert [one for one in ours if one not in twin] == []
