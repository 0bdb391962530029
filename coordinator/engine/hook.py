"""AlertWebHook: alerts posted as JSON, those of one transaction in order, those of others beside them."""

import asyncio
from collections import deque
from dataclasses import asdict
from http import HTTPStatus
from typing import Final

import aiohttp
import orjson
from yarl import URL

from coordinator.discovery.logins import apart_from_login
from coordinator.engine.alerts import Alert, say
from coordinator.telemetry.log import log

_WAITING_MAX: Final = 1000  # alerts that wait to be posted; a further one is only logged
_POSTS_MAX: Final = 8  # at a time
_POST_SECONDS: Final = 5.0
_PAUSES_SECONDS: Final = (1.0, 4.0, 15.0)  # between attempts


class WebHookAlerts:
    """Posts each alert to a url; `run` does the work. See Alerts.

    on_end: whether the end of a transaction that was reported is posted, too. pauses_seconds: between the
    attempts at one alert; it is given up after the last.
    """

    def __init__(
        self, url: str, *, on_end: bool = True, pauses_seconds: tuple[float, ...] = _PAUSES_SECONDS
    ) -> None:
        self._url, login = apart_from_login(URL(url))
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": login} if login else {})
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
        timeout = aiohttp.ClientTimeout(_POST_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for _ in range(_POSTS_MAX):
                group.create_task(self._work(session))

    async def _work(self, session: aiohttp.ClientSession) -> None:
        while True:
            gid = await self._ready.get()
            waiting = self._waiting[gid]
            try:
                await self._deliver(session, waiting[0])
            except Exception as error:  # noqa: BLE001 - no alert may end the others
                log.error("an alert was not delivered", exception=error, gid=gid)
            waiting.popleft()
            self._count -= 1
            if waiting:
                self._ready.put_nowait(gid)
            else:
                del self._waiting[gid]

    async def _deliver(self, session: aiohttp.ClientSession, alert: Alert) -> None:
        body = orjson.dumps(asdict(alert))
        for pause in (*self._pauses_seconds, None):
            problem = await self._post(session, body)
            if not problem:
                return
            if pause is None:
                log.error("AlertWebHook did not take an alert: {}", problem, gid=alert.gid)
                return
            await asyncio.sleep(pause)

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> str:
        """Return why it was not taken; empty when it was."""
        try:
            async with session.post(self._url, data=body, headers=self._headers) as answer:
                if answer.status < HTTPStatus.BAD_REQUEST:
                    return ""
                return f"status {answer.status}"
        except (aiohttp.ClientError, OSError, ValueError) as error:  # a time-out is an OSError
            return str(error) or type(error).__name__

    def _put(self, alert: Alert) -> None:
        if self._count >= _WAITING_MAX:
            log.error("AlertWebHook is too slow: an alert is not posted", gid=alert.gid)
            return
        self._count += 1
        waiting = self._waiting.setdefault(alert.gid, deque())
        waiting.append(alert)
        if len(waiting) == 1:
            self._ready.put_nowait(alert.gid)
