"""The gRPC load generator; prints a Load as JSON.

`python -m bench.grpc_client TARGET BRANCH RUN PATTERN AT_A_TIME SECONDS`
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count
from time import perf_counter

import uvloop
from grpclib import GRPCError
from grpclib.client import Channel
from grpclib.const import Cardinality

from bench.raw import RawCodec
from bench.sample import Load, percentile
from bench.transactions import GID, grpc_calls

_CHANNELS = 2  # connections that share the load
_ANSWER_SECONDS = 10  # how long the last answers may take

Template = tuple[str, list[bytes]]  # path, and the message around the gid


def templates(pattern: str, branch: str) -> list[Template]:
    """The calls of a transaction, cut where the gid belongs."""
    return [(call.path, call.body.split(GID.encode())) for call in grpc_calls(pattern, branch)]


async def play(channel: Channel, calls: Sequence[Template], gid: bytes) -> None:
    """One transaction. Raises GRPCError and OSError."""
    for path, parts in calls:
        async with channel.request(path, Cardinality.UNARY_UNARY, bytes, bytes) as stream:
            await stream.send_message(gid.join(parts), end=True)
            await stream.recv_message()


async def drive(target: str, calls: Sequence[Template], run: str, at_a_time: int, seconds: float) -> Load:
    """Keep `at_a_time` transactions running for so long."""
    host, port = target.rsplit(":", 1)
    channels = [Channel(host, int(port), codec=RawCodec()) for _ in range(min(_CHANNELS, at_a_time))]
    numbers, taken = count(), []
    errors = 0
    begin = perf_counter()
    end = begin + seconds

    async def one_after_the_other(channel: Channel) -> None:
        nonlocal errors
        while (started := perf_counter()) < end:
            gid = f"{run}-{next(numbers):0{len(GID) - len(run) - 1}d}".encode()
            try:
                await play(channel, calls, gid)
            except (GRPCError, OSError):
                errors += 1
            else:
                taken.append(perf_counter() - started)

    tasks = [
        asyncio.create_task(one_after_the_other(channels[place % len(channels)]))
        for place in range(at_a_time)
    ]
    ended, unanswered = await asyncio.wait(tasks, timeout=seconds + _ANSWER_SECONDS)
    lasted = perf_counter() - begin
    errors += len(unanswered)
    for task in unanswered:
        task.cancel()
    for task in ended:
        task.result()
    for channel in channels:
        channel.close()
    taken.sort()
    p50, p99 = (1000 * percentile(taken, share) if taken else 0 for share in (0.5, 0.99))
    return Load(len(taken), lasted, errors, p50, p99)


def main(target: str, branch: str, run: str, pattern: str, at_a_time: str, seconds: str) -> None:
    load = drive(target, templates(pattern, branch), run, int(at_a_time), float(seconds))
    print(json.dumps(asdict(uvloop.run(load))))


if __name__ == "__main__":
    main(*sys.argv[1:])
