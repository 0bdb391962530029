"""Alerts: a branch that goes on failing is reported, and later that its transaction ended (PROTOCOL §9)."""

import asyncio
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Final, Protocol

import aiohttp
import orjson

from coordinator.telemetry.log import log

_QUEUE_MAX: Final = 1000  # alerts that wait to be posted; a further one is only logged
_POST_SECONDS: Final = 5.0
_PAUSES_SECONDS: Final = (1.0, 4.0, 15.0)  # between attempts


# In column ext_data of a transaction that was reported, so that whoever ends it tells of that. A Go server
# that shares the database passes over keys that it does not know (see telemetry.trace_context).
_MARK: Final = "alerted"
_MARKED: Final = f'"{_MARK}":true'


def is_marked(ext_data: str) -> bool:
    """Whether an alert was given of the transaction that has this ext_data."""
    return _MARKED in ext_data


def marked(ext_data: str) -> str:
    """The same ext_data, with the mark; unchanged when another program wrote what is no JSON object."""
    try:
        found = orjson.loads(ext_data or "{}")
    except orjson.JSONDecodeError:
        return ext_data
    return orjson.dumps(found | {_MARK: True}).decode() if isinstance(found, dict) else ext_data


@dataclass(frozen=True, slots=True)
class Alert:
    """What is posted. status: of the transaction. branch and error are empty when it has ended."""

    gid: str
    status: str
    branch: str = ""  # its url
    error: str = ""
    retry_count: int = 0  # rounds that failed in a row


class Alerts(Protocol):
    """Who is told. Called on the event loop: never waits, never raises."""

    def failing(self, alert: Alert) -> None:
        """A branch failed as often as AlertRetryLimit, or more often."""
        ...

    def ended(self, gid: str, status: str, *, was_reported: bool) -> None:
        """A transaction is final. was_reported: its row says that an alert was given, whoever gave it."""
        ...


class LoggedAlerts:
    """No web hook: the log alone."""

    def failing(self, alert: Alert) -> None:
        """See Alerts."""
        _log(alert)

    def ended(self, gid: str, status: str, *, was_reported: bool) -> None:
        """See Alerts."""


class WebHookAlerts:
    """Posts each alert as JSON to a url, in the order they came; `run` does the work."""

    def __init__(self, url: str, *, pauses_seconds: tuple[float, ...] = _PAUSES_SECONDS) -> None:
        self._url = url
        self._pauses_seconds = pauses_seconds
        self._queue: asyncio.Queue[Alert] = asyncio.Queue(_QUEUE_MAX)

    def failing(self, alert: Alert) -> None:
        """See Alerts."""
        _log(alert)
        self._put(alert)

    def ended(self, gid: str, status: str, *, was_reported: bool) -> None:
        """See Alerts."""
        if was_reported:
            self._put(Alert(gid, status))

    async def run(self) -> None:
        """Post until cancelled."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_POST_SECONDS)) as session:
            while True:
                alert = await self._queue.get()
                try:
                    await self._deliver(session, alert)
                except Exception as error:  # noqa: BLE001 - the alerts behind it are to be delivered too
                    log.error("an alert was not delivered", exception=error, gid=alert.gid)

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
            async with session.post(
                self._url, data=body, headers={"Content-Type": "application/json"}
            ) as answer:
                if answer.status < HTTPStatus.BAD_REQUEST:
                    return ""
                return f"status {answer.status}"
        except (aiohttp.ClientError, OSError, ValueError) as error:  # a time-out is an OSError
            return str(error) or type(error).__name__

    def _put(self, alert: Alert) -> None:
        try:
            self._queue.put_nowait(alert)
        except asyncio.QueueFull:
            log.error("AlertWebHook is too slow: an alert is not posted", gid=alert.gid)


def _log(alert: Alert) -> None:
    log.alert(
        "{} failed {} times in a row: {}",
        alert.branch,
        alert.retry_count,
        alert.error,
        gid=alert.gid,
        retry_count=alert.retry_count,
    )
