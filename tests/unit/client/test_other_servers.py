"""What only our own coordinator knows, asked of another one: InvalidUse, and nothing is handed in."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from coordinator.client import Dtm, InvalidUse, sync
from coordinator.client.transport.base import BranchRegistration
from coordinator.model import OWN_FEATURES
from tests.unit.client.fake_coordinator import Fake

ASKED: list[tuple[str, Callable[[Dtm, str], Awaitable[Any]]]] = [
    ("failure_statuses", lambda dtm, url: dtm.saga(failure_statuses={422}).add(url).submit()),
    ("step_headers", lambda dtm, url: dtm.saga().add(url, headers={"a": "b"}).submit()),
    ("step_headers", lambda dtm, url: dtm.msg().add(url, headers={"a": "b"}).submit()),
    ("step_results", lambda dtm, url: dtm.saga().add(url, keep_result=True).submit()),
    ("step_results", lambda dtm, url: dtm.saga().add(url, compensate_payload={"a": 1}).submit()),
    (
        "failure_statuses and step_headers",
        lambda dtm, url: dtm.saga(failure_statuses=[422]).add(url, headers={"a": "b"}).submit(),
    ),
    (
        "workflow_sleep",
        lambda dtm, url: dtm.coordinator.register_branch(
            BranchRegistration("g", "workflow", "01", {"op": "action", "wake_after": "60"})
        ),
    ),
]
# Over HTTP: one without the call, one in Go, one that knows something else.
VERSIONS: list[Mapping[str, Any] | None] = [None, {"version": "v1.19.0"}, {"features": ["tea"]}]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("named", "ask"), ASKED)
async def test_it_is_refused_over_both_protocols(
    fake: Fake,
    bank: str,
    named: str,
    ask: Callable[[Dtm, str], Awaitable[Any]],
    version: Mapping[str, Any] | None,
) -> None:
    fake.version = version
    async with Dtm(fake.url, timeout=5) as dtm:
        for _ in range(2):
            with pytest.raises(InvalidUse) as refused:
                await ask(dtm, f"{bank}/a.A/B")
            address = fake.url.removeprefix("grpc://")
            assert refused.value.message.startswith(f"{named}: the coordinator at {address} does not know")
            assert refused.value.gid
    assert fake.names() == []


async def test_it_is_refused_where_blocking_code_asks(fake: Fake, bank: str) -> None:
    def use() -> None:
        with (
            sync.Dtm(fake.url, timeout=5) as dtm,
            pytest.raises(InvalidUse, match=r"failure_statuses: the coordinator at .* Nothing was sent"),
        ):
            dtm.saga(failure_statuses={422}).add(f"{bank}/a.A/B").submit()

    await asyncio.to_thread(use)
    assert fake.names() == []


async def test_one_of_several_that_does_not_know_it_refuses_it(http: Fake) -> None:
    async with Dtm([http.url, http.url + "/"], timeout=5) as dtm:
        with pytest.raises(InvalidUse, match="failure_statuses"):
            await dtm.saga(failure_statuses={422}).add("http://b/a").submit()
    assert http.names() == []


async def test_one_that_learns_it_is_asked_again(http: Fake) -> None:
    async with Dtm(http.url, timeout=5) as dtm:
        saga = dtm.saga(failure_statuses={422}).add("http://b/a")
        with pytest.raises(InvalidUse):
            await saga.submit()
        http.version = {"version": "1", "features": list(OWN_FEATURES)}
        await saga.submit()
    assert http.submitted[0]["failure_statuses"] == [422]
