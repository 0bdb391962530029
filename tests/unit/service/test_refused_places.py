"""Where no branch may live is refused by name of the field before anything is stored (PROTOCOL §10)."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from coordinator.backoff import Timing
from coordinator.calls.branch_urls import BranchUrls
from coordinator.calls.places import Places
from coordinator.errors import DtmError, Invalid, InvalidBranch, InvalidTopic
from coordinator.model import BranchRequest, Options, Step, TransactionRequest
from coordinator.service.topics import Topics
from coordinator.service.validate import registered_branches, validated_branches
from tests.simulation.twin import Rows, TwinStore
from tests.simulation.world import VirtualClock
from tests.unit.service.bench import Bench, branch, request, virtually

GUARDED = "http://169.254.169.254/latest/meta-data"
WHY = (
    "may not be called: 169.254.169.254 is link-local, where clouds hand out credentials:"
    " Branches.Allow would have to name 169.254.169.254"
)
URLS = BranchUrls(Places())
SAGA = TransactionRequest("g", "saga", steps=(Step("http://h/a", ""),), payloads=(b"",))
MSG = replace(SAGA, trans_type="msg")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (replace(SAGA, steps=(Step(GUARDED, ""),)), "steps[0].action"),
        (replace(SAGA, steps=(Step("http://h/a", GUARDED),)), "steps[0].compensate"),
        (replace(MSG, steps=(Step(GUARDED, ""),)), "steps[0].action"),
        (replace(MSG, query_prepared=GUARDED), "query_prepared"),
        (replace(MSG, steps=(Step("topic://t", ""),)), "the url of branch 01"),
        (TransactionRequest("g", "workflow", query_prepared=GUARDED), "query_prepared"),
    ],
)
@pytest.mark.parametrize("protocol", ["http", "grpc", "json-rpc"])
def test_a_transaction_names_no_such_place(asked: TransactionRequest, field: str, protocol: str) -> None:
    asked = replace(asked, protocol=protocol)
    with pytest.raises(Invalid) as caught:
        validated_branches(asked, {"t": [GUARDED]}, Timing(), URLS)
    assert caught.value.message == f"{field} '{GUARDED}' {WHY}"


@pytest.mark.parametrize(("trans_type", "key"), [("tcc", "cancel"), ("tcc", "confirm"), ("xa", "url")])
def test_no_branch_is_registered_there(trans_type: str, key: str) -> None:
    with pytest.raises(InvalidBranch) as caught:
        registered_branches(BranchRequest("g", trans_type, "01", data={key: GUARDED}), URLS)
    assert caught.value.message == f"{key} '{GUARDED}' {WHY}"


async def test_nobody_subscribes_there() -> None:
    store = TwinStore(Rows(), Random(1))
    topics = Topics(store, VirtualClock(), Random(1), URLS, believed_seconds=3)
    with pytest.raises(InvalidTopic) as caught:
        await topics.subscribe("t", GUARDED, "")
    assert caught.value.message == f"url '{GUARDED}' {WHY}"
    assert await store.find_value("topics", "t") is None


@pytest.mark.parametrize("name", ["Host", "host", "HOST"])
@pytest.mark.parametrize("protocol", ["http", "grpc", "json-rpc"])
@pytest.mark.parametrize("trans_type", ["saga", "msg", "tcc", "xa", "workflow"])
def test_headers_name_no_host(name: str, protocol: str, trans_type: str) -> None:
    asked = replace(
        SAGA, trans_type=trans_type, protocol=protocol, options=Options(branch_headers={name: "other"})
    )
    with pytest.raises(Invalid, match=r"(?i)branch_headers has 'host': the url of a branch says which"):
        validated_branches(asked, {}, Timing(), URLS)


async def _submit(bench: Bench) -> None:
    await bench.transactions.submit(replace(request("saga"), steps=(Step(GUARDED, ""),), payloads=(b"",)))


async def _prepare(bench: Bench) -> None:
    await bench.transactions.prepare(replace(request("msg"), query_prepared=GUARDED))


async def _prepare_workflow(bench: Bench) -> None:
    await bench.workflows.prepare(replace(request("workflow"), query_prepared=GUARDED))


@pytest.mark.parametrize("ask", [_submit, _prepare, _prepare_workflow])
@virtually
async def test_nothing_is_stored(ask: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    bench = Bench(_never)
    with pytest.raises(DtmError, match=r"169\.254"):
        await ask(bench)
    assert bench.rows.transactions == {}


@virtually
async def test_a_branch_that_may_not_be_called_is_not_registered() -> None:
    bench = Bench(_never)
    await bench.transactions.prepare(request("tcc"))
    with pytest.raises(InvalidBranch):
        await bench.branches.register(replace(branch("tcc"), data={"confirm": GUARDED, "cancel": ""}))
    assert bench.branch_rows == []


async def _never(_branch: Any) -> Any:
    raise AssertionError("nothing was to be called")
