"""What is too large for the coordinator: found before anything runs, or rolled back once (PROTOCOL §7)."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from coordinator.client import (
    BranchContext,
    Failure,
    InvalidUse,
    Status,
    Workflow,
    WorkflowFunction,
    Workflows,
    workflow,
)
from coordinator.testing import Kit

LARGE = "x" * 100_000


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    async with Kit() as kit:
        yield kit


class Shelf:
    """A place for large results."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def save(self, key: str, data: bytes) -> None:
        self.kept[key] = data

    async def load(self, key: str) -> bytes:
        return self.kept[key]


def workflows_of(kit: Kit, *functions: WorkflowFunction, external: Any = None) -> Workflows:
    return Workflows(kit.dtm, functions, callback="http://127.0.0.1:1/workflow", external=external)


class Charging:
    """A step that counts, and returns this."""

    def __init__(self, returns: Any) -> None:
        self.done: list[str] = []
        self._returns = returns

    async def charge(self, branch: BranchContext) -> Any:
        self.done.append(branch.op)
        return self._returns

    async def refund(self, branch: BranchContext) -> None:
        self.done.append(branch.op)

    def workflow(self, *, swallowed: bool = False) -> WorkflowFunction:
        @workflow("charge")
        async def charging(wf: Workflow, data: Any) -> Any:
            await wf.saga("http://127.0.0.1:1/never") if data == "never" else None
            try:
                return await wf.do(self.charge, rollback=self.refund)
            except InvalidUse:
                if not swallowed:
                    raise
                return "as if nothing had been"

        return charging


@pytest.mark.parametrize("swallowed", [False, True])
async def test_a_result_that_is_too_large_is_undone_once_with_its_own_step(kit: Kit, swallowed: bool) -> None:
    charging = Charging(LARGE)
    function = charging.workflow(swallowed=swallowed)
    workflows = workflows_of(kit, function)
    for _ in range(2):  # the second time from what is stored
        with pytest.raises(InvalidUse, match=r"do:charge returned 100,002 bytes, at most 65,535 can be"):
            await workflows.execute(function, gid="g1")
    assert charging.done == ["action", "rollback"]
    stored = await kit.dtm.query("g1")
    assert stored is not None
    assert stored.status is Status.FAILED
    assert "100,002 bytes" in stored.rollback_reason


async def test_a_crash_before_the_undoing_does_not_do_it_again(kit: Kit) -> None:
    """The step counts as done, whatever happens then."""
    charging = Charging(LARGE)

    async def dies(branch: BranchContext) -> None:
        raise ConnectionError("the process dies here")

    refund, charging.refund = charging.refund, dies  # type: ignore[method-assign,assignment]
    function = charging.workflow()
    with pytest.raises(ConnectionError):
        await workflows_of(kit, function).execute(function, gid="g1")
    charging.refund = refund  # type: ignore[method-assign]
    with pytest.raises(InvalidUse, match="100,002 bytes"):
        await workflows_of(kit, function).execute(function, gid="g1")
    assert charging.done == ["action", "rollback"]


async def test_the_result_of_the_workflow_itself_has_less_room(kit: Kit) -> None:
    charging = Charging("x" * 766)  # and two quotes: 768 bytes
    function = charging.workflow()
    assert await workflows_of(kit, function).execute(function) == "x" * 766
    charging = Charging("x" * 767)
    function = charging.workflow()
    for _ in range(2):
        with pytest.raises(InvalidUse, match="the function returned 769 bytes, at most 768 can be recorded"):
            await workflows_of(kit, function).execute(function, gid="g1")
    assert charging.done == ["action", "rollback"]


@pytest.mark.parametrize("name", ["charge", "a-name-of-another-length"])
async def test_data_are_measured_before_anything_runs(kit: Kit, name: str) -> None:
    seen: list[Any] = []

    @workflow(name)
    async def function(wf: Workflow, data: Any) -> None:
        seen.append(data)

    workflows = workflows_of(kit, function)
    with pytest.raises(InvalidUse, match="bytes as JSON, at most") as raised:
        await workflows.execute(function, LARGE, gid="g1")
    assert "custom_data" not in str(raised.value)
    most = int(str(raised.value).partition("at most ")[2].partition(" ")[0])
    fits = "x" * (most - 2)
    await workflows.execute(function, fits)
    with pytest.raises(InvalidUse):
        await workflows.execute(function, fits + "x")
    assert seen == [fits]
    assert await kit.dtm.query("g1") is None


async def test_large_data_and_results_are_kept_where_the_user_says(kit: Kit) -> None:
    shelf, charging = Shelf(), Charging([LARGE])
    function = charging.workflow()
    workflows = workflows_of(kit, function, external=shelf)
    for _ in range(2):
        assert await workflows.execute(function, [LARGE], gid="g1") == [LARGE]
    assert charging.done == ["action"]
    assert set(shelf.kept) == {"g1/data", "g1/01", "g1/result"}
    stored = await kit.dtm.query("g1")
    assert stored is not None
    assert [one.payload for one in stored.branches] == [b"external:g1/01"]


async def test_what_is_kept_elsewhere_comes_back_when_it_is_gone_on_with(kit: Kit) -> None:
    shelf, charging, seen = Shelf(), Charging(LARGE), []

    @workflow("twice")
    async def twice(wf: Workflow, data: Any) -> None:
        seen.append((await wf.do(charging.charge), data))
        if len(seen) == 1:
            raise ConnectionError("the process dies here")

    workflows = workflows_of(kit, twice, external=shelf)
    with pytest.raises(ConnectionError):
        await workflows.execute(twice, LARGE, gid="g1")
    await workflows.resume(BranchContext("g1", "workflow", "00", "twice"), b"external:g1/data")
    assert seen == [(LARGE, LARGE)] * 2
    assert charging.done == ["action"]


async def test_text_that_looks_like_our_own_marks_is_only_text(kit: Kit) -> None:
    texts = [b"too-large:7", b"external:g1", b"base64:Z2lk"]
    kit.branches.answer("/say", *texts, *texts)
    bodies: list[bytes] = []

    @workflow("say")
    async def say(wf: Workflow, data: Any) -> None:
        for _ in texts:
            bodies.append((await wf.saga(f"{kit.branches.http_url}/say")).body)
        if len(bodies) == len(texts):
            raise ConnectionError("the process dies here")

    workflows = workflows_of(kit, say)
    with pytest.raises(ConnectionError):
        await workflows.execute(say, gid="g1")
    await workflows.execute(say, gid="g1")
    assert bodies == texts * 2
    assert len(kit.branches.calls) == len(texts)


async def test_a_long_refusal_is_recorded_all_the_same(kit: Kit) -> None:
    async def refuse(call: Any) -> None:
        raise Failure("no " * 50_000)

    kit.branches.answer("/charge", refuse)

    @workflow("refused")
    async def refused(wf: Workflow, data: Any) -> None:
        await wf.saga(f"{kit.branches.http_url}/charge")

    workflows = workflows_of(kit, refused)
    for _ in range(2):
        with pytest.raises(Failure, match="no no"):
            await workflows.execute(refused, gid="g1")
    assert len(kit.branches.calls) == 1
