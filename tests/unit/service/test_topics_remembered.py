"""Topics over a store of one dictionary: what is remembered, and who is believed (PROTOCOL §8)."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random

import pytest

from coordinator.backoff import Timing
from coordinator.calls.branch_urls import BranchUrls
from coordinator.calls.places import Places
from coordinator.errors import Busy, Invalid, InvalidTopic, StoreUnavailable
from coordinator.model import Step, TransactionRequest
from coordinator.service.topics import Topics
from coordinator.service.validate import validated_branches
from coordinator.store.base import KeyValue

BELIEVED_SECONDS = 3.0
URL = "http://localhost/"


class Values:
    """The rows of `kv`; `held` makes a read wait after it has looked, `refuses` makes every change lose."""

    def __init__(self) -> None:
        self.rows: dict[str, KeyValue] = {}
        self.held: asyncio.Event | None = None
        self.waits = asyncio.Event()
        self.reads = 0
        self.refuses = False
        self.lost: list[
            bool
        ] = []  # of the next changes, True: nobody is told of its commit, False: lost before
        self.meanwhile: Sequence[
            str
        ] = ()  # urls that another coordinator subscribes right after a lost change
        self.at_once = 0  # changes under way now, and the most there were
        self.most_at_once = 0

    async def find_value(self, category: str, key: str) -> KeyValue | None:
        row, held = self.rows.get(key), self.held
        self.reads += 1
        if held is not None:
            self.held = None
            self.waits.set()
            await held.wait()
        return row

    async def list_values(
        self, category: str, *, limit: int, before_id: int | None = None
    ) -> Sequence[KeyValue]:
        raise NotImplementedError

    async def put_value(
        self, category: str, key: str, value: str, *, replaces: KeyValue | None, own_rows: object = ()
    ) -> bool:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if self.refuses or self.rows.get(key) != replaces:
            return False
        self._perhaps_lost(key, KeyValue(category, key, value, replaces.version + 1 if replaces else 1))
        return True

    async def delete_value(self, row: KeyValue, *, own_rows: object = ()) -> bool:
        if self.refuses or self.rows.get(row.key) != row:
            return False
        self._perhaps_lost(row.key, None)
        return True

    def _perhaps_lost(self, key: str, row: KeyValue | None) -> None:
        lost = bool(self.lost)
        if not lost or self.lost.pop(0):
            self._put(key, row)
        for url in self.meanwhile if lost else ():
            old = self.rows.get(key)
            told = [*json.loads(old.value), {"url": url}] if old else [{"url": url}]
            self._put(key, KeyValue("topics", key, json.dumps(told), (old.version if old else 0) + 1))
        if lost:
            raise StoreUnavailable("the connection was lost")

    def _put(self, key: str, row: KeyValue | None) -> None:
        if row is None:
            del self.rows[key]
        else:
            self.rows[key] = row


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def values() -> Values:
    return Values()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def topics(values: Values, clock: Clock) -> Topics:
    return Topics(values, clock, Random(1), BranchUrls(Places()), believed_seconds=BELIEVED_SECONDS)


async def urls(topics: Topics, topic: str = "t") -> Sequence[str]:
    return (await topics.subscribers([topic]))[topic]


async def test_subscribers_are_believed_for_a_while_without_a_look(
    topics: Topics, values: Values, clock: Clock
) -> None:
    await topics.subscribe("t", URL, "")
    reads = values.reads
    assert await urls(topics) == [URL]
    assert values.reads == reads
    values.rows["t"] = KeyValue("topics", "t", json.dumps([{"url": URL + "2"}]), 7)  # by another coordinator
    assert await urls(topics) == [URL]
    clock.seconds += BELIEVED_SECONDS
    assert await urls(topics) == [URL + "2"]


async def test_a_change_made_here_counts_although_an_older_look_ends_after_it(
    topics: Topics, values: Values, clock: Clock
) -> None:
    await topics.subscribe("t", URL, "")
    clock.seconds += BELIEVED_SECONDS
    values.held = held = asyncio.Event()
    looking = asyncio.create_task(urls(topics))
    await values.waits.wait()
    await topics.delete("t")
    held.set()
    assert await looking == [URL]  # it was asked before
    with pytest.raises(Invalid, match="topic not found"):
        await urls(topics)


async def test_changes_made_here_come_one_after_the_other(topics: Topics, values: Values) -> None:
    await asyncio.gather(*[topics.subscribe("t", f"{URL}{number}", "") for number in range(50)])
    assert values.most_at_once == 1
    assert len(await urls(topics)) == 50


async def test_who_loses_every_race_is_told_and_the_next_one_is_not_kept_waiting(
    topics: Topics, values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.service.topics._PAUSE_SECONDS", 0.0)
    await topics.subscribe("t", URL, "")
    values.refuses = True
    with pytest.raises(Busy, match="topic 't' is being changed by others"):
        await topics.subscribe("t", URL + "2", "")
    values.refuses = False
    await topics.subscribe("t", URL + "2", "")


async def test_a_topic_that_a_database_takes_for_another_is_refused_at_once(
    topics: Topics, values: Values
) -> None:
    """All other changes wait meanwhile: where 'T' is 't' to the database, no attempt can succeed."""
    values.refuses = True  # though no row of exactly that name is found
    reads = values.reads
    with pytest.raises(InvalidTopic, match="topic 't' differs only in case, accents or trailing spaces"):
        await topics.subscribe("t", URL, "")
    assert values.reads - reads <= 3


async def test_a_change_that_is_cancelled_lets_the_next_one_go(topics: Topics, values: Values) -> None:
    values.held = asyncio.Event()
    first = asyncio.create_task(topics.subscribe("t", URL, ""))
    await values.waits.wait()
    second = asyncio.create_task(topics.subscribe("t", URL + "2", ""))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert await urls(topics) == [URL + "2"]


def test_a_message_to_many_is_counted_before_it_is_made_up() -> None:
    steps = (Step("topic://t", ""),) * 1000
    request = TransactionRequest("g", "msg", steps, (b"",) * 1000)
    with pytest.raises(Invalid, match="1000000 calls, topics' subscribers counted; at most 1000 fit"):
        validated_branches(request, {"t": _Uncopied(1000)}, Timing(), BranchUrls(Places()))


class _Uncopied(Sequence[str]):
    """Subscribers that may be counted, not walked through."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: object) -> str:  # type: ignore[override]
        raise AssertionError("a row was made")


# --- the connection is lost during the commit: nobody knows whether the change stands ---


@pytest.mark.parametrize("stood", [True, False])
@pytest.mark.parametrize("before", [[], [URL + "old"]])
@pytest.mark.parametrize("meanwhile", [[], [URL + "other"], [URL + "other", URL + "third"]])
async def test_a_subscription_in_doubt_is_made_once(
    topics: Topics, values: Values, stood: bool, before: Sequence[str], meanwhile: Sequence[str]
) -> None:
    """PROTOCOL §8: never lost, never `this url exists` to the one who made it."""
    for url in before:
        await topics.subscribe("t", url, "")
    values.lost, values.meanwhile = [stood], meanwhile
    await topics.subscribe("t", URL, "")
    assert sorted(await urls(topics)) == sorted([*before, URL, *meanwhile])
    assert sorted(it["url"] for it in json.loads(values.rows["t"].value)) == sorted(await urls(topics))
    with pytest.raises(InvalidTopic, match="this url exists"):
        await topics.subscribe("t", URL, "")


@pytest.mark.parametrize("stood", [True, False])
@pytest.mark.parametrize("others", [[], [URL + "other"]])
async def test_an_unsubscription_in_doubt_is_made_once(
    topics: Topics, values: Values, stood: bool, others: Sequence[str]
) -> None:
    """PROTOCOL §8: neither `no such an url` nor `this topic is empty` to the one who took it out."""
    for url in (URL, *others):
        await topics.subscribe("t", url, "")
    values.lost = [stood]
    await topics.unsubscribe("t", URL)
    assert [it["url"] for it in json.loads(values.rows["t"].value)] == list(others)
    with pytest.raises(InvalidTopic):
        await topics.unsubscribe("t", URL)


@pytest.mark.parametrize("stood", [True, False])
async def test_a_deletion_in_doubt_is_made_once(topics: Topics, values: Values, stood: bool) -> None:
    """PROTOCOL §8: not `no such a topic` to the one who deleted it."""
    await topics.subscribe("t", URL, "")
    values.lost = [stood]
    await topics.delete("t")
    assert values.rows == {}
    with pytest.raises(Invalid, match="topic not found"):
        await urls(topics)


async def test_a_url_that_another_subscribed_while_ours_was_in_doubt_exists(
    topics: Topics, values: Values
) -> None:
    """PROTOCOL §8: the version tells that another was faster."""
    values.lost, values.meanwhile = [False], [URL]
    with pytest.raises(InvalidTopic, match="this url exists"):
        await topics.subscribe("t", URL, "mine")
    assert await urls(topics) == [URL]


async def test_a_store_that_stays_away_is_the_callers_to_know(topics: Topics, values: Values) -> None:
    values.lost = [False] * 9
    with pytest.raises(StoreUnavailable):
        await topics.subscribe("t", URL, "")
    assert len(values.lost) == 7
    values.lost = []
    await topics.subscribe("t", URL, "")
