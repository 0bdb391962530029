"""What topics promise whatever the store: run on the twin, and on every SQL store (PROTOCOL §8).

A test class inherits TopicsContract and has a fixture `stores`, as for StoreContract.
"""

import asyncio
from random import Random

import orjson

from coordinator.calls.branch_urls import BranchUrls
from coordinator.calls.places import Places
from coordinator.clock import SystemClock
from coordinator.errors import Busy, InvalidTopic
from coordinator.service.topics import CATEGORY, Topics
from coordinator.store.base import Store
from tests.support.store_contract import Stores

COORDINATORS = 20
STORES = 4  # connections to the same rows that they share; a coordinator more would add nothing but sockets


async def coordinators(stores: Stores) -> list[Topics]:
    """As many as COORDINATORS, each believing what it read for 3 s."""
    connected = [stores.first, *[await stores.another() for _ in range(STORES - 1)]]
    return [
        Topics(
            connected[number % STORES],
            SystemClock(),
            Random(number),
            BranchUrls(Places()),
            believed_seconds=3,
        )
        for number in range(COORDINATORS)
    ]


async def subscribed(store: Store, topic: str) -> list[str]:
    """The urls that are stored."""
    row = await store.find_value(CATEGORY, topic)
    return [it["url"] for it in orjson.loads(row.value)] if row else []


class TopicsContract:
    """For every store and the twin."""

    async def test_of_concurrent_subscribes_each_stands_or_fails(self, stores: Stores) -> None:
        """PROTOCOL §8: 20 at once, each its own url: none lost."""
        topics = await coordinators(stores)
        urls = [f"http://subscriber/{number}" for number in range(COORDINATORS)]
        said = await asyncio.gather(
            *(one.subscribe("orders", url, "") for one, url in zip(topics, urls, strict=True)),
            return_exceptions=True,
        )
        stands = [url for url, answer in zip(urls, said, strict=True) if answer is None]
        assert all(answer is None or isinstance(answer, Busy) for answer in said)
        assert sorted(await subscribed(stores.first, "orders")) == sorted(stands)
        assert len(stands) == COORDINATORS, "a change that others were faster with is tried again"

    async def test_of_concurrent_subscribes_of_one_url_one_stands(self, stores: Stores) -> None:
        """PROTOCOL §8: url already there."""
        topics = await coordinators(stores)
        said = await asyncio.gather(
            *(one.subscribe("orders", "http://subscriber/", "") for one in topics), return_exceptions=True
        )
        assert await subscribed(stores.first, "orders") == ["http://subscriber/"]
        told = [answer for answer in said if answer is not None]
        assert len(told) == COORDINATORS - 1
        assert {(type(answer), str(answer)) for answer in told} == {(InvalidTopic, "this url exists")}

    async def test_subscribes_and_unsubscribes_at_once_lose_nothing(self, stores: Stores) -> None:
        """PROTOCOL §8."""
        topics = await coordinators(stores)
        leaving = [f"http://leaving/{number}" for number in range(COORDINATORS // 2)]
        coming = [f"http://coming/{number}" for number in range(COORDINATORS // 2)]
        for url in leaving:
            await topics[0].subscribe("orders", url, "")
        half = COORDINATORS // 2
        await asyncio.gather(
            *(one.unsubscribe("orders", url) for one, url in zip(topics[:half], leaving, strict=True)),
            *(one.subscribe("orders", url, "") for one, url in zip(topics[half:], coming, strict=True)),
        )
        assert sorted(await subscribed(stores.first, "orders")) == sorted(coming)

    async def test_a_subscribe_beside_a_delete_is_in_the_old_topic_or_the_new(self, stores: Stores) -> None:
        """PROTOCOL §8: never half of both."""
        topics = await coordinators(stores)
        await topics[0].subscribe("orders", "http://old/", "")
        await asyncio.gather(
            topics[1].delete("orders"),
            *(one.subscribe("orders", f"http://new/{n}", "") for n, one in enumerate(topics[2:])),
        )
        left = await subscribed(stores.first, "orders")
        assert "http://old/" not in left
        assert len(left) == len(set(left))
