"""What open pages watch, what they count, and the page of what the console costs."""

import argparse
import asyncio
from contextlib import suppress

from aiohttp import ClientSession, web

from bench.console import Answers, document
from bench.watched import Cost, Told, open_page, subjects
from tests.support.ports import HOST


def test_every_second_page_is_the_inbox_and_the_others_are_about_one_each() -> None:
    found = subjects(["a", "b", "c", "d"], 4)
    assert found == [
        ("inbox", "/"),
        ("gid:b", "/transactions/b"),
        ("inbox", "/"),
        ("gid:d", "/transactions/d"),
    ]


async def test_an_open_page_is_fetched_anew_when_it_is_told_of_another_mark() -> None:
    fetched, asked = asyncio.Event(), list[str]()

    async def live(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for mark in ("one", "one", "two", "three"):
            await response.write(f"data: {mark}\n\n".encode())
        await asyncio.Event().wait()
        return response

    async def page(_: web.Request) -> web.Response:
        asked.append("page")
        if len(asked) == 2:  # so that the first has been counted
            fetched.set()
            await asyncio.Event().wait()
        return web.Response()

    application = web.Application()
    application.router.add_get("/live", live)
    application.router.add_get("/", page)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    told, base = Told(), f"http://{HOST}:{runner.addresses[0][1]}"
    async with ClientSession() as session:
        opened = asyncio.create_task(open_page(session, base, "/", "inbox", told))
        await fetched.wait()
        opened.cancel()
        with suppress(asyncio.CancelledError):
            await opened
    await runner.cleanup()
    assert (told.streams, told.fetched, told.problems) == (1, 1, set())


def test_the_page_has_the_dearest_first_and_what_the_open_ones_take() -> None:
    pages = {"/nodes": Answers([1.0, 2.0, 9.0], 0.5, 0.25), "/": Answers([3.0], 1.0, 2.0)}
    costs = {"nothing": Cost(0.01, 0.025, Told(100, 3))}
    given = argparse.Namespace(
        finished=1_000, stuck=10, repeats=3, pages=100, seconds=60.0, remark="Nobody else was there."
    )
    text = document(pages, costs, given)
    assert "Nobody else was there." in text and "of 1,000 transactions" in text
    assert text.index("| `/` | 3.0 | 3.0 | 1.0 | 2.0 |") < text.index("| `/nodes` | 2.0 | 9.0 | 0.5 | 0.2 |")
    assert "| nothing | 1.00% | 2.50% | 1.50% | 100 | 3 |" in text
