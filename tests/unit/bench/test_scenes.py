"""Which scenes are played, what their page says, and what a crowd counts."""

import argparse
import asyncio

import pytest

from bench.crowd import crowd
from bench.pressed import _doubled
from bench.scenes import add_options, asked_for, page
from tests.support.ports import HOST


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser)
    parser.set_defaults(seconds=8)
    return parser.parse_args(words)


def test_what_is_asked_for_is_played_in_order() -> None:
    assert list(asked_for(options())) == []
    words = ("--overload", "300", "--soak", "10", "--fill", "1000000", "--workers", "4")
    assert list(asked_for(options(*words))) == [
        "--fill 1000000",
        "--overload 300",
        "--workers 4",
        "--soak 10",
    ]


@pytest.mark.parametrize(
    ("count", "steps"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])]
)
def test_workers_are_doubled_up_to_their_number(count: int, steps: list[int]) -> None:
    assert _doubled(count) == steps


def test_the_page_has_a_table_of_each() -> None:
    text = page({"--due 5": [("done a second", "1,000")]}, "Others ran meanwhile.")
    assert "Others ran meanwhile." in text
    assert "## `--due 5`\n\n| what was seen |  |\n| --- | ---: |\n| done a second | 1,000 |" in text


async def test_a_crowd_counts_what_is_taken_what_is_refused_and_what_fails() -> None:
    answers = ["200 OK", "503 Service Unavailable\r\nRetry-After: 7", "500 Internal Server Error"]
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        while head := (await reader.readline() and await reader.readuntil(b"\r\n\r\n")):
            await reader.readexactly(int(head.partition(b"Content-Length: ")[2].partition(b"\r")[0]))
            writer.write(f"HTTP/1.1 {answers[served % 3]}\r\nContent-Length: 0\r\n\r\n".encode())
            served += 1
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    found = await crowd(f"{HOST}:{port}", f"{HOST}:1", "run", connections=3, rate=60, seconds=0.5)
    server.close()
    await server.wait_closed()
    assert served == found.accepted + found.refused + found.failed >= 3
    assert (abs(found.accepted - found.refused) <= 1, found.retry_after) == (True, 7)
