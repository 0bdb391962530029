"""More requests than can be taken, over many connections: `python -m bench.crowd`, a process of its own.

Each connection begins a saga at its times, or as soon as the one before is answered. Prints one line of JSON.
"""

import argparse
import asyncio
import json
import time
from dataclasses import asdict, dataclass
from typing import Final, cast

import uvloop

from bench.sample import percentile
from bench.transactions import GID, http_calls

_HEAD: Final = "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n"
_AGAIN_SECONDS: Final = 0.5  # until a connection that was refused is opened anew


@dataclass(frozen=True, slots=True)
class Crowd:
    """What became of the requests. refused: with 503. failed: anything else but 200."""

    seconds: float
    accepted: int
    refused: int
    failed: int
    accepted_p50_ms: float
    accepted_p99_ms: float
    refused_p99_ms: float
    retry_after: int  # the longest that was said, seconds


class _Connection(asyncio.Protocol):
    """Sends one request at a time."""

    def __init__(self) -> None:
        self.is_open = False
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self.is_open = cast(asyncio.Transport, transport), True

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self.data_received(b"")

    async def ask(self, request: bytes) -> bytes:
        """The answer, which is small: it comes in one piece; empty where there was none."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(data)


class _Tally:
    def __init__(self) -> None:
        self.accepted: list[float] = []
        self.refused: list[float] = []
        self.failed = 0
        self.retry_after = 0

    def answered(self, data: bytes, milliseconds: float) -> None:
        status = data[9:12]
        if status == b"200":
            self.accepted.append(milliseconds)
        elif status == b"503":
            self.refused.append(milliseconds)
            said = data.partition(b"Retry-After: ")[2].partition(b"\r\n")[0]
            self.retry_after = max(self.retry_after, int(said or 0))
        else:
            self.failed += 1


def _at(values: list[float], share: float) -> float:
    return percentile(sorted(values), share) if values else 0.0


async def crowd(
    target: str, branch: str, run: str, *, connections: int, rate: float, seconds: float
) -> Crowd:
    """Ask so often a second, over so many connections."""
    host, _, port = target.partition(":")
    [call] = http_calls("saga", f"http://{branch}")
    tally, loop = _Tally(), asyncio.get_running_loop()
    head = _HEAD.format(path=call.path, host=target, length=len(call.body)).encode()
    began = loop.time()

    async def one(number: int) -> None:
        connection, turn, count = _Connection(), began + number / rate, 0
        while turn < began + seconds:
            await asyncio.sleep(max(turn - loop.time(), 0))
            if not connection.is_open:
                try:
                    await loop.create_connection(lambda: connection, host, int(port))
                except OSError:
                    tally.failed += 1
                    turn = loop.time() + _AGAIN_SECONDS
                    continue
            gid = f"{run}-{number:05}{count:06}".ljust(len(GID), "x").encode()
            sent, count = time.perf_counter(), count + 1
            answer = await connection.ask(head + call.body.replace(GID.encode(), gid))
            tally.answered(answer, (time.perf_counter() - sent) * 1000)
            turn = max(turn + connections / rate, loop.time())
        connection.close()

    await asyncio.gather(*map(one, range(connections)))
    return Crowd(
        seconds=loop.time() - began,
        accepted=len(tally.accepted),
        refused=len(tally.refused),
        failed=tally.failed,
        accepted_p50_ms=_at(tally.accepted, 0.5),
        accepted_p99_ms=_at(tally.accepted, 0.99),
        refused_p99_ms=_at(tally.refused, 0.99),
        retry_after=tally.retry_after,
    )


def main() -> None:
    """Ask, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.crowd", description=__doc__)
    for name in ("target", "branch", "run"):
        parser.add_argument(name)
    parser.add_argument("connections", type=int)
    parser.add_argument("rate", type=float)
    parser.add_argument("seconds", type=float)
    print(json.dumps(asdict(uvloop.run(crowd_of(parser.parse_args())))))


async def crowd_of(given: argparse.Namespace) -> Crowd:
    """As the command line says."""
    return await crowd(
        given.target, given.branch, given.run,
        connections=given.connections, rate=given.rate, seconds=given.seconds,
    )  # fmt: skip


if __name__ == "__main__":
    main()
