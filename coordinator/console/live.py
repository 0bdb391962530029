"""Live pages: who looks is told when what is looked at has changed, by server-sent events.

Whoever asks hears a mark of the subject's state, and fetches the page anew when it differs. One look a beat
is for all who listen; a stream ends after a quarter of a minute, and the browser that asks again is let in
again, or is not.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Final, Protocol

from aiohttp.web import BaseRequest

from coordinator.access.gate import check_gid
from coordinator.access.permissions import Principal
from coordinator.api.http_answer import Answer, StreamedAnswer
from coordinator.api.http_request import query_parameters
from coordinator.console.rendering import headers_of
from coordinator.errors import Busy, DtmError, Invalid

PATH: Final = "/live"
BEAT_SECONDS: Final = 2.0
STREAM_SECONDS: Final = 15.0
LISTENERS_MAX: Final = 200
INBOX: Final = "inbox"
_GID: Final = "gid:"
_READ_SECONDS: Final = 5.0
_HEAD: Final = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "Connection": "close"}


class Looks(Protocol):
    """What is looked at. Raises DtmError."""

    async def inbox_mark(self) -> str:
        """Differs when what is stuck does."""
        ...

    async def marks(self, gids: Collection[str]) -> Mapping[str, str]:
        """Of each transaction that there is; differs when it has moved."""
        ...


class Live:
    """beat: every BEAT_SECONDS. What it costs does not depend on how many listen."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._listeners: Counter[str] = Counter()
        self._marks: Mapping[str, str] = {}
        self._next = asyncio.Event()  # a new one for each beat
        self._is_closed = False

    async def beat(self) -> None:
        """Look once at what is listened to; a store that is away is looked at the next time."""
        subjects = set(self._listeners)
        if not subjects:
            self._marks = {}
            return
        with suppress(DtmError, TimeoutError):
            async with asyncio.timeout(_READ_SECONDS):
                self._marks = await self._look(subjects)
        self._tell()

    async def _look(self, subjects: Collection[str]) -> Mapping[str, str]:
        found: dict[str, str] = {}
        if INBOX in subjects:
            found[INBOX] = await self._looks.inbox_mark()
        gids = [subject.removeprefix(_GID) for subject in subjects if subject.startswith(_GID)]
        if gids:
            found |= {_GID + gid: mark for gid, mark in (await self._looks.marks(gids)).items()}
        return found

    def close(self) -> None:
        """End every stream."""
        self._is_closed = True
        self._tell()

    def _tell(self) -> None:
        now, self._next = self._next, asyncio.Event()
        now.set()

    async def answer(self, request: BaseRequest, who: Principal) -> Answer:
        """A stream about `of`: `inbox`, or `gid:…`. Raises Invalid, Forbidden, Busy."""
        subject = query_parameters(request).get("of", "")
        if subject.startswith(_GID):
            check_gid(who, subject.removeprefix(_GID))
        elif subject != INBOX:
            raise Invalid(f"of: must be {INBOX} or {_GID}GID, not {subject[:40]!r}")
        if self._listeners.total() >= LISTENERS_MAX:
            raise Busy(
                f"{LISTENERS_MAX} pages are watched live at once already", "load this one again by hand"
            )
        return StreamedAnswer(request, headers_of(_HEAD), lambda write: self._stream(subject, write))

    async def _stream(self, subject: str, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write the subject's mark whenever it has changed, until the stream has lasted long enough."""
        self._listeners[subject] += 1
        told = None
        try:
            await write(b"retry: 1000\n\n")
            async with asyncio.timeout(STREAM_SECONDS):
                while not self._is_closed:
                    following = self._next
                    mark = self._marks.get(subject)
                    if mark is not None and mark != told:
                        await write(f"data: {mark}\n\n".encode())
                        told = mark
                    await following.wait()
        except (TimeoutError, ConnectionError):  # it has lasted long enough, or nobody reads it any more
            return
        finally:
            self._listeners[subject] -= 1
            self._listeners += Counter()  # drops what nobody listens to
