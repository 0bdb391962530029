"""Pages that are open and watch, as browsers have them, and what they cost the coordinator."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from bench.sample import BenchError
from bench.scene import Scene, run_name

_AGAIN_SECONDS: Final = 1.0  # after a stream has ended, as it tells the browser
_SETTLE_SECONDS: Final = 20.0  # longer than a stream: from then on some end and begin all the time
_RATE: Final = 50  # sagas a second
_CONNECTIONS: Final = 10


@dataclass(slots=True)
class Told:
    """What the open pages have seen. streams: that were begun."""

    streams: int = 0
    fetched: int = 0
    problems: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Cost:
    """Shares of a core that the coordinator used, without open pages and with them."""

    without: float
    with_pages: float
    told: Told

    @property
    def of_pages(self) -> float:
        """What the pages take."""
        return self.with_pages - self.without


async def open_page(session: ClientSession, base: str, path: str, subject: str, told: Told) -> None:
    """One page until it is cancelled: its stream, again when it ends; the page anew when it has moved."""
    known = ""
    while True:
        try:
            async with session.get(f"{base}/live", params={"of": subject}) as stream:
                if stream.status != 200:
                    told.problems.add(f"{subject}: {stream.status}")
                told.streams += 1
                async for line in stream.content:
                    mark = line.decode().partition("data: ")[2].strip()
                    if mark and known and mark != known:
                        async with session.get(base + path) as page:
                            await page.read()
                        told.fetched += 1
                    known = mark or known
        except ClientError as error:
            told.problems.add(f"{subject}: {error!r}")
        await asyncio.sleep(_AGAIN_SECONDS)


async def cost_of(it: Scene, cookie: str, subjects: Sequence[tuple[str, str]], seconds: float) -> Cost:
    """Of pages about these subjects, each with its path. cookie: of somebody who is logged in."""
    without, told = await _share(it, seconds), Told()
    base = it.coordinator.http_url
    async with (
        ClientSession(
            headers={"Cookie": cookie}, timeout=ClientTimeout(total=None), connector=TCPConnector(limit=0)
        ) as session,
        asyncio.TaskGroup() as tasks,
    ):
        pages = [
            tasks.create_task(open_page(session, base, path, subject, told)) for subject, path in subjects
        ]
        await asyncio.sleep(_SETTLE_SECONDS)
        with_pages = await _share(it, seconds)
        for page in pages:
            page.cancel()
    if told.problems:
        raise BenchError(f"open pages: {', '.join(sorted(told.problems)[:3])}")
    return Cost(without, with_pages, told)


@contextmanager
def busy(it: Scene, seconds: float) -> Iterator[str]:
    """Sagas for so long at a steady rate, from a process of its own; says which."""
    words = [it.target, it.branch, run_name(), str(_CONNECTIONS), str(_RATE), str(seconds)]
    process = subprocess.Popen([sys.executable, "-m", "bench.crowd", *words], stdout=subprocess.DEVNULL)
    try:
        yield f"{_RATE} sagas a second"
    finally:
        process.terminate()
        process.wait()


def subjects(gids: Sequence[str], count: int) -> Sequence[tuple[str, str]]:
    """What so many pages watch, each with its path: every second the inbox, the others one of these each."""
    return [
        (f"gid:{gids[number]}", f"/transactions/{gids[number]}") if number % 2 else ("inbox", "/")
        for number in range(count)
    ]


async def _share(it: Scene, seconds: float) -> float:
    before = it.held().cpu
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(seconds)
    return (it.held().cpu - before) / (asyncio.get_running_loop().time() - began)
