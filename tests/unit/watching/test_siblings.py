"""Processes of one coordinator that ask each other, over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson
from prometheus_client import CollectorRegistry, Counter, generate_latest

from coordinator.watching.siblings import METRICS, PROBLEMS, TOPICS, Siblings


class One:
    def __init__(self, folder: Path, number: int, count: int) -> None:
        self.problems: dict[str, str] = {}
        self.forgot = 0
        registry = CollectorRegistry()
        Counter("seen", "", registry=registry).inc(number)
        self.own = generate_latest(registry)
        answers = {
            METRICS: lambda: self.own,
            PROBLEMS: lambda: orjson.dumps(self.problems),
            TOPICS: self._forget,
        }
        self.siblings = Siblings(folder, number, count, answers)

    def _forget(self) -> bytes:
        self.forgot += 1
        return b"ok"


@asynccontextmanager
async def family(folder: Path, count: int) -> AsyncIterator[list[One]]:
    ones = [One(folder, number, count) for number in range(1, count + 1)]
    for one in ones:
        await one.siblings.start()
    try:
        yield ones
    finally:
        for one in ones:
            await one.siblings.close()


async def test_whoever_is_asked_tells_of_all(tmp_path: Path) -> None:
    async with family(tmp_path, 3) as ones:
        ones[2].problems["store"] = "is away"
        for one in ones[:2]:
            assert b"seen_total 6.0" in await one.siblings.metrics(one.own)
            assert await one.siblings.problems() == {"3: store": "is away"}
        await ones[0].siblings.forget_topics()
        assert [one.forgot for one in ones] == [0, 1, 1]


async def test_one_that_is_away_is_said_and_left_out(tmp_path: Path) -> None:
    async with family(tmp_path, 2) as (first, second):
        await second.siblings.close()
        assert b"seen_total 1.0" in await first.siblings.metrics(first.own)
        assert list(await first.siblings.problems()) == ["2: process"]
        await first.siblings.forget_topics()


async def test_one_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    async with family(tmp_path, 2) as (first, second):
        await second.siblings.close()
        with socket.socket(socket.AF_UNIX) as hanging:  # listens, and never answers
            hanging.bind(str(tmp_path / "2.sock"))
            hanging.listen()
            async with asyncio.timeout(30):
                assert list(await first.siblings.problems()) == ["2: process"]


async def test_nonsense_is_answered_by_silence(tmp_path: Path) -> None:
    async with family(tmp_path, 1):
        for question in (b"nonsense\n", b"x" * 100_000, b"\n", b""):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "1.sock")
            writer.write(question)
            if writer.can_write_eof():
                writer.write_eof()
            async with asyncio.timeout(30):
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
            writer.close()
