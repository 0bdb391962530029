"""Topics: who gets the messages that name no url (PROTOCOL §8). Rows of `kv`, category `topics`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import orjson

from coordinator.access.audit import NOBODY, Actor, Record
from coordinator.access.recorder import Recorder, unrecorded
from coordinator.calls.branch_urls import BranchUrls
from coordinator.clock import Clock
from coordinator.discovery.logins import shown_url
from coordinator.errors import Busy, Invalid, InvalidTopic, StoreUnavailable
from coordinator.service.validate import require_subscription, require_topic
from coordinator.store.base import KeyValue, KeyValues
from coordinator.store.limits import BYTES_MAX
from coordinator.store.own_rows import OwnRow

CATEGORY: Final = "topics"

_ATTEMPTS: Final = 30  # of a change that others were faster with
_PAUSE_SECONDS: Final = 0.05  # at most, before the next attempt, times the attempts made
_UNSEEN_MAX: Final = 3  # insertions in a row that met a row which nobody finds: one that differs only in case
_TURN_SECONDS: Final = 10.0  # at most, that a change waits for those before it
_REMEMBERED_MAX: Final = 10_000  # topics


_Subscribers = list[dict[str, str]]
_ChangeTopic = Callable[[KeyValue | None], _Subscribers | None]  # None: the topic is to go


@dataclass(frozen=True, slots=True)
class _Remembered:
    urls: Sequence[str]
    until: float  # on the monotonic clock, seconds


@dataclass(frozen=True, slots=True)
class _Write:
    """What a row as it was read (None: there is none) is to become."""

    row: KeyValue | None
    subscribers: _Subscribers | None  # None: gone

    def is_not(self, later: KeyValue | None) -> bool:
        """True when the row, read later, proves that this write does not stand: another was faster.

        Of a row as old as the write, changed once more since or made anew, nobody can tell.
        """
        version, number = (self.row.version, self.row.id) if self.row is not None else (0, None)
        if later is None or later.version != version + 1 or number not in (None, later.id):
            return False
        return self.subscribers is None or _subscribers_of(later) != self.subscribers


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Who gets the messages of a topic."""

    url: str
    remark: str


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. id: of its row. problem: why its subscribers cannot be read; may be empty."""

    id: int
    name: str
    subscribers: Sequence[Subscriber]
    problem: str = ""


class Topics:
    """Subscribers by topic.

    What was read is believed for `believed_seconds`, so that a message costs no look at the store; a change
    made here counts at once.
    """

    def __init__(
        self,
        store: KeyValues,
        clock: Clock,
        random: Random,
        urls: BranchUrls,
        *,
        believed_seconds: float,
        recorder: Recorder | None = None,
    ) -> None:
        """recorder: keeps who changed what, in the commit of the change; None: the log alone is told."""
        self._recorder = unrecorded(clock) if recorder is None else recorder
        self._store = store
        self._clock = clock
        self._random = random
        self._branch_urls = urls
        self._believed_seconds = believed_seconds
        self._remembered: dict[str, _Remembered] = {}
        self._changes = 0  # made here, of any topic
        self.tell: Callable[[], Awaitable[None]] | None = None  # whoever else believes what was read
        self._changing = asyncio.Lock()

    async def subscribe(self, topic: str, url: str, remark: str, by: Actor = NOBODY) -> None:
        """Add a url to the topic, which is made when it is new. Raises InvalidTopic, Invalid, Busy."""
        require_subscription(topic, url, remark, self._branch_urls)

        def add(row: KeyValue | None) -> _Subscribers:
            subscribers = [] if row is None else _subscribers_of(row)
            if any(it["url"] == url for it in subscribers):
                raise InvalidTopic("this url exists")
            added = [*subscribers, {"url": url, "remark": remark}]
            if len(orjson.dumps(added)) > BYTES_MAX:
                raise InvalidTopic(
                    f"topic '{topic}' is full: {len(subscribers)} subscribers fill the {BYTES_MAX} bytes"
                    " that it has"
                )
            return added

        await self._change(topic, add, "subscribe", by)

    async def unsubscribe(self, topic: str, url: str, by: Actor = NOBODY) -> None:
        """Take a url out of the topic, which stays, perhaps empty. Raises InvalidTopic, Busy."""
        require_topic(topic)
        if not url:
            raise InvalidTopic("empty url")

        def remove(row: KeyValue | None) -> _Subscribers:
            if row is None:
                raise InvalidTopic("no such a topic")
            subscribers = _subscribers_of(row)
            if not subscribers:
                raise InvalidTopic("this topic is empty")
            left = [it for it in subscribers if it["url"] != url]
            if len(left) == len(subscribers):
                raise InvalidTopic("no such an url ")
            return left

        await self._change(topic, remove, "unsubscribe", by)

    async def delete(self, topic: str, by: Actor = NOBODY) -> None:
        """Forget the topic and its subscribers. Raises InvalidTopic, Busy."""
        require_topic(topic)

        def forget(row: KeyValue | None) -> None:
            if row is None:
                raise InvalidTopic("no such a topic")

        await self._change(topic, forget, "delete topic", by)

    async def listed(self, *, limit: int, before_id: int | None) -> Sequence[Topic]:
        """At most `limit` topics, the newest first."""
        rows = await self._store.list_values(CATEGORY, limit=limit, before_id=before_id)
        return [_topic(row) for row in rows]

    async def named(self, topic: str) -> Topic | None:
        """The topic, None where there is none. Raises InvalidTopic."""
        require_topic(topic)
        row = await self._store.find_value(CATEGORY, topic)
        return None if row is None else _topic(row)

    def forget(self) -> None:
        """Look anew: another process of this coordinator has changed a topic."""
        self._changes += 1
        self._remembered.clear()

    async def subscribers(self, topics: Collection[str]) -> Mapping[str, Sequence[str]]:
        """The urls of each of these topics. Raises Invalid when one does not exist or has none."""
        return {topic: await self._urls(topic) for topic in topics}

    async def _urls(self, topic: str) -> Sequence[str]:
        remembered = self._remembered.get(topic)
        if remembered is not None and remembered.until > self._clock.monotonic():
            return remembered.urls
        changes = self._changes
        row = await self._store.find_value(CATEGORY, topic)
        urls = [] if row is None else [it["url"] for it in _subscribers_of(row)]
        if changes == self._changes:  # else what was read may be older than what is remembered
            self._remember(topic, urls)
        if not urls:
            raise Invalid("topic not found")
        return urls

    def _remember(self, topic: str, urls: Sequence[str]) -> None:
        if len(self._remembered) >= _REMEMBERED_MAX:
            self._remembered.clear()
        if urls:
            self._remembered[topic] = _Remembered(urls, self._clock.monotonic() + self._believed_seconds)
        else:  # a name that somebody made up must take no memory
            self._remembered.pop(topic, None)

    async def _change(self, topic: str, change: _ChangeTopic, action: str, by: Actor) -> None:
        """Compare-and-set, again when somebody else was faster: no change is ever lost."""
        unseen = 0
        doubtful: _Write | None = None  # of ours, and nobody knows whether it stands
        async with self._turn(topic):
            for attempt in range(_ATTEMPTS):
                row = await self._store.find_value(CATEGORY, topic)
                if doubtful is not None and doubtful.is_not(row):
                    doubtful = None
                try:
                    write = _Write(row, change(row))
                except InvalidTopic:
                    if doubtful is None:
                        raise
                    await self._changed(topic, [] if row is None else _subscribers_of(row))
                    return  # what was asked for is so already, by the write that was in doubt
                try:
                    record = _record(action, topic, write)
                    stands = await self._write(topic, write, self._recorder.rows(by, record))
                except StoreUnavailable:
                    if doubtful is not None:
                        raise
                    doubtful = write
                    continue
                if stands:
                    await self._changed(topic, write.subscribers or [])
                    self._recorder.done(by, record)
                    return
                unseen = 0 if row is not None else unseen + 1
                if unseen == _UNSEEN_MAX:  # no use going on, while all other changes wait
                    raise InvalidTopic(
                        f"topic '{topic}' differs only in case, accents or trailing spaces from one that is"
                        " stored already"
                    )
                await self._pause(attempt)
        raise _changed_by_others(topic)

    async def _write(self, topic: str, write: _Write, own_rows: Sequence[OwnRow]) -> bool:
        if write.subscribers is None:
            return write.row is None or await self._store.delete_value(write.row, own_rows=own_rows)
        value = orjson.dumps(write.subscribers).decode()
        return await self._store.put_value(CATEGORY, topic, value, replaces=write.row, own_rows=own_rows)

    async def _changed(self, topic: str, subscribers: _Subscribers) -> None:
        self._changes += 1
        self._remember(topic, [it["url"] for it in subscribers])
        if self.tell is not None:
            await self.tell()

    @asynccontextmanager
    async def _turn(self, topic: str) -> AsyncIterator[None]:
        """Changes made here come one after the other, so that only coordinators race each other."""
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._changing.acquire()
        except TimeoutError as error:
            raise _changed_by_others(topic) from error
        try:
            yield
        finally:
            self._changing.release()

    async def _pause(self, attempt: int) -> None:
        await asyncio.sleep(_PAUSE_SECONDS * self._random.random() * (attempt + 1))


def _subscribers_of(row: KeyValue) -> list[dict[str, str]]:
    """Read `[{"url","remark"}]`. Raises Invalid for what another program may have written."""
    try:
        rows: Any = orjson.loads(row.value or "[]") or []
        return [{"url": str(it["url"]), "remark": str(it.get("remark", ""))} for it in rows]
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
        raise Invalid(f"the stored subscribers of topic '{row.key}' cannot be read: {error!r}") from error


def _topic(row: KeyValue) -> Topic:
    try:
        found = [Subscriber(it["url"], it["remark"]) for it in _subscribers_of(row)]
    except Invalid as error:
        return Topic(row.id, row.key, (), error.message)
    return Topic(row.id, row.key, found)


def _record(action: str, topic: str, write: _Write) -> Record:
    before = [] if write.row is None else _subscribers_of(write.row)
    was, became = (
        ", ".join(shown_url(it["url"]) for it in urls) for urls in (before, write.subscribers or [])
    )
    return Record(action, topic, was=was, became=became)


def _changed_by_others(topic: str) -> Busy:
    return Busy(f"topic '{topic}' is being changed by others all the time")
