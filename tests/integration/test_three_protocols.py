"""The same operation gives the same result over HTTP, gRPC and JSON-RPC, on every store (PROTOCOL §2 to §8).

One table, `tests/support/operation_cases.py`; the branches speak the protocol of the client.
"""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest

from tests.support.branch_server import BranchServer, branch_server
from tests.support.every_store import STORES, coordinator_on
from tests.support.operation_cases import Call, Case, cases, protocols_of
from tests.support.three_clients import (
    ERROR,
    SUCCESS,
    Client,
    GrpcClient,
    HttpClient,
    JsonRpcClient,
    client_of,
)
from tests.support.under_test import CoordinatorProcess

OPERATIONS = {kind.name: kind.operations for kind in (HttpClient, GrpcClient, JsonRpcClient)}
TABLE = [(case, protocol) for case in cases() for protocol in protocols_of(case, OPERATIONS)]


@pytest.fixture(scope="module", params=STORES)
def coordinator(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CoordinatorProcess]:
    """One per store: each case has a gid and a topic of its own."""
    yield from coordinator_on(request.param, request, tmp_path_factory)


@pytest.fixture
async def branches() -> AsyncIterator[BranchServer]:
    async with branch_server() as one:
        yield one


@pytest.mark.parametrize(("case", "protocol"), TABLE, ids=[f"{it} over {name}" for it, name in TABLE])
async def test_an_operation_has_the_same_result_on_every_protocol(
    coordinator: CoordinatorProcess, branches: BranchServer, case: Case, protocol: str
) -> None:
    gid = f"three-{uuid.uuid4()}"
    words = Words(gid, branches, protocol)
    async with client_of(protocol, coordinator) as client:
        for call in case.calls:
            await make(call, client, words)
    found = await asyncio.to_thread(coordinator.query, gid)
    transaction = found["transaction"] or {"status": ""}
    assert transaction["status"] == case.status
    assert {f"{row['branch_id']}/{row['op']}": row["status"] for row in found["branches"]} == case.rows
    assert words.matches(case.reason, transaction.get("rollback_reason", ""))
    if case.status:
        assert transaction["protocol"] == protocol
    asked = [f"{it.branch_id}/{it.op}" for it in branches.asked if it.gid == gid]
    assert (sorted(asked) if case.any_order else asked) == list(case.asked)
    assert {it.body for it in branches.asked if it.gid == gid} <= {'{"amount":30}'}


async def make(call: Call, client: Client, words: "Words") -> None:
    """Make one call of a case, and see that its outcome is the one of the table."""
    outcome = await client.ask(call.operation, words.filled(call.content))
    assert outcome.kind == call.kind, outcome
    if call.kind != SUCCESS:
        assert words.matches(call.text or "…", outcome.message), outcome
    if call.kind == ERROR:
        expected = {"http": 500, "grpc": call.grpc.value, "json-rpc": -32603}
        assert outcome.code == expected[client.name], outcome
    if call.operation == "newGid":
        assert re.fullmatch("[0-9A-Za-z]{1,22}", outcome.value["gid"])
    if call.value is not None:
        assert includes(outcome.value, words.filled(call.value)), outcome


def includes(value: Any, wanted: Any) -> bool:
    """Whether the value has all that is wanted, and lists just as long."""
    match wanted:
        case Mapping():
            return all(key in value and includes(value[key], it) for key, it in wanted.items())
        case list():
            return len(value) == len(wanted) and all(map(includes, value, wanted))
        case _:
            return bool(value == wanted)


class Words:
    """What the words of the table stand for in one run of one case."""

    def __init__(self, gid: str, branches: BranchServer, protocol: str) -> None:
        self._gid = gid
        self._branches = branches
        self._protocol = protocol

    def filled(self, content: Any) -> Any:
        """The content with every word replaced, however deep."""
        match content:
            case Mapping():
                return {key: self.filled(value) for key, value in content.items()}
            case list():
                return [self.filled(value) for value in content]
            case str():
                return self._text(content)
            case _:
                return content

    def matches(self, wanted: str, text: str) -> bool:
        """Whether the text is the wanted one, in which `…` is anything."""
        pattern = ".*".join(re.escape(part) for part in self._text(wanted).split("…"))
        return re.fullmatch(pattern, text, re.DOTALL) is not None

    def _text(self, text: str) -> str:
        named = text.replace("GID", self._gid).replace("TOPIC", f"topic-{self._gid}")
        return re.sub(r"@([a-z]+)", lambda found: self._branches.url(self._protocol, found[1]), named)
