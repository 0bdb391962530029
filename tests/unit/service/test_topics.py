"""Topics: who is in them, who is told of a change when, what is refused (PROTOCOL §8)."""

import asyncio
from dataclasses import replace
from random import Random

import pytest

from coordinator.errors import Invalid, InvalidTopic
from coordinator.model import Status, Step, TransactionRequest
from coordinator.service.topics import CATEGORY
from tests.simulation.twin import Faults, Rows, TwinStore
from tests.support.store_contract import Stores
from tests.support.topics_contract import TopicsContract
from tests.unit.service.bench import Bench, request, virtually


def to_topic(gid: str = "g") -> TransactionRequest:
    """A message of one step to the topic `orders`."""
    asked = request("msg", 1, wait_result=True)
    return replace(asked, gid=gid, steps=(Step("topic://orders"),))


@virtually
async def test_a_message_goes_to_every_subscriber() -> None:
    """PROTOCOL §1, §8: 01-01, 01-02; with one subscriber plain 01."""
    bench = Bench()
    await bench.topics.subscribe("orders", "http://one/", "first")
    await bench.transactions.submit(to_topic("single"))
    await bench.topics.subscribe("orders", "http://two/", "")
    await bench.transactions.submit(to_topic("both"))
    assert bench.caller.called == ["action 01", "action 01-01", "action 01-02"]
    assert [b.url for b in bench.rows.branches["both"]] == ["http://one/", "http://two/"]


@virtually
async def test_a_topic_is_stored_as_the_reference_stores_it() -> None:
    """PROTOCOL §8: kv, cat topics, a JSON list of url and remark, version for optimistic locking."""
    bench = Bench()
    await bench.topics.subscribe("orders", "http://one/", "first")
    await bench.topics.subscribe("orders", "localhost:9/pkg.Service/Method", "")
    row = bench.rows.values[CATEGORY, "orders"]
    assert (row.category, row.version) == ("topics", 2)
    assert row.value == (
        '[{"url":"http://one/","remark":"first"},{"url":"localhost:9/pkg.Service/Method","remark":""}]'
    )


@pytest.mark.parametrize("exists", ["never", "unsubscribed", "deleted"])
@virtually
async def test_a_message_to_nobody_is_refused_and_not_stored(exists: str) -> None:
    """PROTOCOL §8: topic not found; (better) the one that changed a topic knows it at once."""
    bench = Bench()
    if exists != "never":
        await bench.topics.subscribe("orders", "http://one/", "")
        await bench.transactions.submit(to_topic("before"))
    if exists == "unsubscribed":
        await bench.topics.unsubscribe("orders", "http://one/")
    if exists == "deleted":
        await bench.topics.delete("orders")
    for operation in (bench.transactions.submit, bench.transactions.prepare):
        with pytest.raises(Invalid, match=r"^topic not found$") as told:
            await operation(to_topic())
        assert told.value.grpc_status == 13
    assert "g" not in bench.rows.transactions


@virtually
async def test_other_coordinators_see_a_change_within_the_update_interval() -> None:
    """PROTOCOL §8: ConfigUpdateInterval, here 3 s."""
    bench = Bench()
    other = bench.node().operations
    await bench.topics.subscribe("orders", "http://one/", "")
    await other.transactions.submit(to_topic("a"))
    await bench.topics.subscribe("orders", "http://two/", "")
    await bench.transactions.submit(to_topic("b"))  # the one that made the change: at once
    assert len(bench.rows.branches["b"]) == 2
    await asyncio.sleep(3)
    await other.transactions.submit(to_topic("c"))
    assert len(bench.rows.branches["c"]) == 2
    await bench.topics.delete("orders")
    await asyncio.sleep(3)
    with pytest.raises(Invalid, match="topic not found"):
        await other.transactions.submit(to_topic("d"))


@virtually
async def test_a_prepared_message_keeps_the_subscribers_it_was_prepared_with() -> None:
    """PROTOCOL §5: its stored branches are used."""
    bench = Bench()
    await bench.topics.subscribe("orders", "http://one/", "")
    await bench.transactions.prepare(to_topic())
    await bench.topics.subscribe("orders", "http://two/", "")
    await bench.transactions.submit(to_topic())
    assert bench.row.status is Status.SUCCEED
    assert bench.caller.called == ["action 01"]


@virtually
async def test_a_prepared_message_is_submitted_though_its_topic_is_gone() -> None:
    """PROTOCOL §5: its sender has committed; its stored branches are used."""
    bench = Bench()
    await bench.topics.subscribe("orders", "http://one/", "")
    await bench.transactions.prepare(to_topic())
    await bench.topics.delete("orders")
    with pytest.raises(Invalid, match="custom_data"):
        await bench.transactions.submit(replace(to_topic(), custom_data="x" * 1025))
    await bench.transactions.submit(to_topic())
    assert bench.row.status is Status.SUCCEED
    assert bench.caller.called == ["action 01"]


@pytest.mark.parametrize(
    ("call", "arguments", "says"),
    [
        ("subscribe", ("", "http://one/", ""), "empty topic"),
        ("subscribe", ("orders", "", ""), "empty url"),
        ("subscribe", ("orders", "http://one/", "again"), "this url exists"),
        ("subscribe", ("orders", "nonsense", ""), "can be called neither over HTTP nor over gRPC"),
        ("unsubscribe", ("", "http://one/"), "empty topic"),
        ("unsubscribe", ("orders", ""), "empty url"),
        ("unsubscribe", ("other", "http://one/"), "no such a topic"),
        ("unsubscribe", ("orders", "http://two/"), "no such an url "),
        ("unsubscribe", ("empty", "http://one/"), "this topic is empty"),
        ("delete", ("",), "empty topic"),
        ("delete", ("other",), "no such a topic"),
    ],
)
@virtually
async def test_what_is_refused_and_how(call: str, arguments: tuple[str, ...], says: str) -> None:
    """PROTOCOL §2, §8: the texts that clients look at; gRPC Unknown; nothing changed."""
    bench = Bench()
    await bench.topics.subscribe("orders", "http://one/", "")
    await bench.topics.subscribe("empty", "http://one/", "")
    await bench.topics.unsubscribe("empty", "http://one/")
    before = dict(bench.rows.values)
    with pytest.raises(InvalidTopic, match=says) as told:
        await getattr(bench.topics, call)(*arguments)
    assert (told.value.http_status, told.value.grpc_status) == (500, 2)
    assert bench.rows.values == before


@virtually
async def test_a_topic_that_does_not_fit_its_column_is_refused() -> None:
    """PROTOCOL §14: never cut."""
    bench = Bench()
    with pytest.raises(Invalid, match="128"):
        await bench.topics.subscribe("x" * 129, "http://one/", "")
    assert bench.rows.values == {}


class TestTopicsOnTheTwin(TopicsContract):
    """PROTOCOL §8, where a write takes its time, so that all are under way at once."""

    @pytest.fixture
    def stores(self) -> Stores:
        rows = Rows()

        async def another() -> TwinStore:
            return TwinStore(rows, Random(2), Faults(slowest=0.005))

        return Stores(TwinStore(rows, Random(1), Faults(slowest=0.005)), another)
