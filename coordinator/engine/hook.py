"""AlertWebHook: alerts posted as JSON, those of one transaction in order, those of others beside them."""

import asyncio
from collections import deque
from dataclasses import asdict
from http import HTTPStatus
from typing import Final

import orjson
from yarl import URL

from coordinator.attempt import Kind
from coordinator.calls.answers import unknown
from coordinator.calls.base import SUCCESS, Answer
from coordinator.calls.connect import Reach
from coordinator.calls.http import HttpCaller
from coordinator.calls.url import parse_http_url
from coordinator.deadlines import Deadlines
from coordinator.engine.alerts import Alert, say
from coordinator.errors import StartError
from coordinator.model import Result
from coordinator.telemetry.log import log

_WAITING_MAX: Final = 1000  # alerts that wait to be posted; a further one is only logged
_POSTS_MAX: Final = 8  # at a time
_POST_SECONDS: Final = 5.0
_ANSWER_BYTES_MAX: Final = 1 << 16  # more of it is not read
_REDIRECTS_MAX: Final = 5
_PAUSES_SECONDS: Final = (1.0, 4.0, 15.0)  # between attempts


class WebHookAlerts:
    """Posts each alert to a url; `run` does the work. See Alerts.

    reach: connects to it, and to where it redirects. on_end: whether the end of a transaction that was
    reported is posted, too. pauses_seconds: between the attempts at one alert; it is given up after the last.
    Raises StartError for a url that nothing can be posted to.
    """

    def __init__(
        self,
        url: str,
        reach: Reach,
        *,
        on_end: bool = True,
        pauses_seconds: tuple[float, ...] = _PAUSES_SECONDS,
    ) -> None:
        try:
            self._url = parse_http_url(url)
        except ValueError as error:  # the url is not repeated: a token is often part of it
            raise StartError(
                f"AlertWebHook {error}", "write the whole URL, such as https://host/path"
            ) from error
        self._reach = reach
        self._on_end = on_end
        self._pauses_seconds = pauses_seconds
        self._waiting: dict[str, deque[Alert]] = {}  # by gid, the one that is being posted first
        self._count = 0
        self._ready: asyncio.Queue[str] = asyncio.Queue()  # gids that nobody posts for yet

    def failing(self, alert: Alert) -> None:
        """See Alerts."""
        say(alert)
        self._put(alert)

    def ended(self, gid: str, status: str, *, was_reported: bool) -> None:
        """See Alerts."""
        if was_reported and self._on_end:
            self._put(Alert(gid, status))

    async def run(self) -> None:
        """Post until cancelled."""
        http = HttpCaller(
            answer_bytes_max=_ANSWER_BYTES_MAX,
            redirects_max=_REDIRECTS_MAX,
            deadlines=Deadlines(),
            reach=self._reach,
            shown=_origin,
        )
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_POSTS_MAX):
                    group.create_task(self._work(http))
        finally:
            await http.close()

    async def _work(self, http: HttpCaller) -> None:
        while True:
            gid = await self._ready.get()
            waiting = self._waiting[gid]
            try:
                await self._deliver(http, waiting[0])
            except Exception as error:  # noqa: BLE001 - no alert may end the others
                log.error("an alert was not delivered", exception=error, gid=gid)
            waiting.popleft()
            self._count -= 1
            if waiting:
                self._ready.put_nowait(gid)
            else:
                del self._waiting[gid]

    async def _deliver(self, http: HttpCaller, alert: Alert) -> None:
        body = orjson.dumps(asdict(alert))
        for pause in (*self._pauses_seconds, None):
            problem = await self._post(http, body)
            if not problem:
                return
            if pause is None:
                log.error("AlertWebHook did not take an alert: {}", problem, gid=alert.gid)
                return
            await asyncio.sleep(pause)

    async def _post(self, http: HttpCaller, body: bytes) -> str:
        """Return why it was not taken; empty when it was."""
        url = self._url
        answer = await http.fetch("POST", url, url.target, body, {}, _POST_SECONDS, _taken)
        return "" if answer.result is Result.SUCCESS else answer.text

    def _put(self, alert: Alert) -> None:
        if self._count >= _WAITING_MAX:
            log.error("AlertWebHook is too slow: an alert is not posted", gid=alert.gid)
            return
        self._count += 1
        waiting = self._waiting.setdefault(alert.gid, deque())
        waiting.append(alert)
        if len(waiting) == 1:
            self._ready.put_nowait(alert.gid)


def _taken(status: int, _body: bytes, _charset: str) -> Answer:
    return SUCCESS if status < HTTPStatus.MULTIPLE_CHOICES else unknown(f"status {status}", Kind.STATUS)


def _origin(url: URL) -> str:
    return str(url.origin())  # a token is often part of the path
