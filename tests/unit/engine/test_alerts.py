"""PROTOCOL §9: a branch that goes on failing is reported to AlertWebHook, and so is the end."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from coordinator.backoff import Timing, failed_rounds, is_marked, noted, without_notes
from coordinator.calls.connect import Reach
from coordinator.calls.places import Places
from coordinator.discovery.names import Names
from coordinator.engine.alerts import Alert
from coordinator.engine.hook import WebHookAlerts
from coordinator.model import Options
from tests.support.ports import HOST

FAILING = Alert("g", "submitted", "http://b/do", "boom (status 500)", 3, "W15")


class Hook:
    """A web hook that answers the given statuses in turn, then 200."""

    def __init__(self, *statuses: int) -> None:
        self.posted: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._statuses = list(statuses)

    async def take(self, request: web.Request) -> web.Response:
        await self.posted.put(json.loads(await request.text()))
        return web.Response(status=self._statuses.pop(0) if self._statuses else 200)


@asynccontextmanager
async def alerts_to(hook: Hook, **options: Any) -> AsyncIterator[WebHookAlerts]:
    application = web.Application()
    application.router.add_post("/hook", hook.take)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    port = runner.addresses[0][1]
    alerts = WebHookAlerts(
        f"http://{HOST}:{port}/hook", Reach(Names(), Places()), **{"pauses_seconds": (0.0, 0.0)} | options
    )
    running = asyncio.create_task(alerts.run())
    try:
        yield alerts
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await runner.cleanup()


async def test_an_alert_is_posted_and_so_is_the_end() -> None:
    hook = Hook()
    async with alerts_to(hook) as alerts:
        alerts.failing(FAILING)
        alerts.ended("g", "succeed", was_reported=True)
        assert await hook.posted.get() == {
            "gid": "g",
            "status": "submitted",
            "branch": "http://b/do",
            "error": "boom (status 500)",
            "retry_count": 3,
            "code": "W15",
        }
        end = await hook.posted.get()
        assert (end["gid"], end["status"], end["retry_count"]) == ("g", "succeed", 0)


@pytest.mark.parametrize("ext_data", ["", "{}", '{"traceparent":"00-1"}', '{"headers":{"alerted":"true"}}'])
def test_that_an_alert_was_given_is_noted_beside_what_stands_there(ext_data: str) -> None:
    assert not is_marked(ext_data)
    written = noted(ext_data, failed=7, alerted=True)
    assert is_marked(written)
    assert failed_rounds(written) == 7
    assert json.loads(written) == {**json.loads(ext_data or "{}"), "alerted": True, "failed_rounds": 7}
    later = noted(written, failed=0, alerted=False)
    assert is_marked(later), "that it was reported is told at its end"
    assert failed_rounds(later) == 0


@pytest.mark.parametrize("ext_data", ["[]", "no JSON", '"\\"alerted\\":true"'])
def test_what_another_program_left_there_is_left_alone(ext_data: str) -> None:
    assert noted(ext_data, failed=3, alerted=True) == ext_data
    assert not is_marked(ext_data)


@pytest.mark.parametrize(
    "ext_data", ["", "[]", '"failed_rounds"', '{"failed_rounds":-1}', '{"failed_rounds":"3"}']
)
def test_what_counts_no_rounds_counts_as_none(ext_data: str) -> None:
    assert failed_rounds(ext_data) == 0


@pytest.mark.parametrize("ext_data", ["", "{}", "[]", "no JSON", '{"traceparent":"00-1"}'])
def test_clients_see_none_of_it(ext_data: str) -> None:
    seen = without_notes(noted(ext_data, failed=3, alerted=True))
    assert seen == ext_data or json.loads(ext_data) == json.loads(seen or "{}")


def test_nothing_is_written_where_nothing_is_to_be_said() -> None:
    assert noted("", failed=0, alerted=False) == ""


async def test_the_end_of_what_never_failed_is_nobodys_business() -> None:
    hook = Hook()
    async with alerts_to(hook) as alerts:
        alerts.ended("fine", "succeed", was_reported=False)
        alerts.failing(FAILING)
        assert (await hook.posted.get())["gid"] == "g"
        assert hook.posted.empty()


async def test_a_hook_that_refuses_is_asked_again() -> None:
    hook = Hook(500, 503)
    async with alerts_to(hook) as alerts:
        alerts.failing(FAILING)
        assert [(await hook.posted.get())["gid"] for _ in range(3)] == ["g"] * 3


async def test_a_receiver_that_refuses_one_alert_holds_up_no_other() -> None:
    """Nor may the later alerts of that transaction come before the one that is refused."""

    class Picky(Hook):
        async def take(self, request: web.Request) -> web.Response:
            answer = await super().take(request)
            refused = json.loads(await request.text())["gid"] == "refused"
            return web.Response(status=500) if refused else answer

    hook = Picky()
    async with alerts_to(hook, pauses_seconds=(30.0,)) as alerts:
        alerts.failing(replace(FAILING, gid="refused"))
        alerts.ended("refused", "succeed", was_reported=True)
        for number in range(100):
            alerts.failing(replace(FAILING, gid=f"g{number}"))
        posted = [await hook.posted.get() for _ in range(101)]
        assert [it["status"] for it in posted if it["gid"] == "refused"] == ["submitted"]
        assert len({it["gid"] for it in posted}) == 101


async def test_alerts_of_one_transaction_come_in_order() -> None:
    hook = Hook(500, 500)
    async with alerts_to(hook) as alerts:
        for count in (3, 4, 5):
            alerts.failing(replace(FAILING, retry_count=count))
        alerts.ended("g", "succeed", was_reported=True)
        posted = [await hook.posted.get() for _ in range(6)]
        assert [it["retry_count"] for it in posted] == [3, 3, 3, 4, 5, 0]


async def test_the_end_need_not_be_told() -> None:
    hook = Hook()
    async with alerts_to(hook, on_end=False) as alerts:
        alerts.ended("ended", "succeed", was_reported=True)
        alerts.failing(FAILING)
        assert (await hook.posted.get())["gid"] == "g"


async def test_a_hook_that_is_away_holds_nothing_up() -> None:
    alerts = WebHookAlerts("http://127.0.0.1:1/hook", Reach(Names(), Places()), pauses_seconds=())
    running = asyncio.create_task(alerts.run())
    for _ in range(2000):  # more than may wait
        alerts.failing(FAILING)
    await asyncio.sleep(0)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    ("interval", "options", "failures"),
    [
        (10, Options(), 0),
        (20, Options(), 1),
        (80, Options(), 3),
        (300, Options(), 4),  # the cap of the doubling
        (8, Options(retry_interval=1), 3),
        (0, Options(), 0),
    ],
)
def test_failed_rounds_are_read_off_the_interval(interval: int, options: Options, failures: int) -> None:
    """PROTOCOL §9: log2(next_cron_interval / first interval)."""
    assert Timing().failures(interval, options) == failures


def test_alarm_is_given_at_the_limit() -> None:
    assert [Timing(alert_retry_limit=3).is_alarming(n) for n in (2, 3, 4)] == [False, True, True]


async def test_an_alert_that_cannot_be_written_keeps_no_other_from_being_posted() -> None:
    hook = Hook()
    async with alerts_to(hook) as alerts:
        alerts.failing(Alert("odd", "submitted", "http://b/do", "said \ud800", 3))
        alerts.failing(FAILING)
        async with asyncio.timeout(30):
            assert (await hook.posted.get())["gid"] == "g"
