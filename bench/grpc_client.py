"""The gRPC load generator; prints a Load as JSON.

`python -m bench.grpc_client TARGET BRANCH RUN PATTERN AT_A_TIME SECONDS`; a token is read from BENCH_TOKEN.
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count
from time import perf_counter

import uvloop

from bench.grpc_wire import STREAMS_MAX, CallFailed, Connection, connect
from bench.sample import Load, percentile
from bench.transactions import GID, grpc_calls

TOKEN = "BENCH_TOKEN"  # the variable
_CONNECTIONS_MIN = 2  # that share the load, unless it is one at a time
_ANSWER_SECONDS = 10  # how long the last answers may take

_TROUBLE_MAX = 5  # kinds of errors that are printed

Template = tuple[str, list[bytes]]  # path, and the message around the gid


def templates(pattern: str, branch: str) -> list[Template]:
    """The calls of a transaction, cut where the gid belongs."""
    return [(call.path, call.body.split(GID.encode())) for call in grpc_calls(pattern, branch)]


async def play(connection: Connection, calls: Sequence[Template], gid: bytes) -> None:
    """One transaction. Raises CallFailed."""
    for path, parts in calls:
        await connection.call(path, gid.join(parts))


async def drive(target: str, calls: Sequence[Template], run: str, at_a_time: int, seconds: float) -> Load:
    """Keep `at_a_time` transactions running for so long."""
    host, port = target.rsplit(":", 1)
    wanted = min(at_a_time, max(_CONNECTIONS_MIN, -(-at_a_time // STREAMS_MAX)))
    connections = [await connect(host, int(port), os.environ.get(TOKEN, "")) for _ in range(wanted)]
    numbers, taken = count(), []
    errors = 0
    trouble: set[str] = set()
    begin = perf_counter()
    end = begin + seconds

    async def one_after_the_other(connection: Connection) -> None:
        nonlocal errors
        while (started := perf_counter()) < end:
            gid = f"{run}-{next(numbers):0{len(GID) - len(run) - 1}d}".encode()
            try:
                await play(connection, calls, gid)
            except CallFailed as failed:
                errors += 1
                trouble.add(str(failed))
            else:
                taken.append(perf_counter() - started)

    tasks = [
        asyncio.create_task(one_after_the_other(connections[place % wanted])) for place in range(at_a_time)
    ]
    ended, unanswered = await asyncio.wait(tasks, timeout=seconds + _ANSWER_SECONDS)
    lasted = perf_counter() - begin
    errors += len(unanswered)
    for task in unanswered:
        task.cancel()
    for task in ended:
        task.result()
    for connection in connections:
        connection.close()
    for why in sorted(trouble)[:_TROUBLE_MAX]:
        print(why, file=sys.stderr)
    taken.sort()
    p50, p99 = (1000 * percentile(taken, share) if taken else 0 for share in (0.5, 0.99))
    return Load(len(taken), lasted, errors, p50, p99)


def main(target: str, branch: str, run: str, pattern: str, at_a_time: str, seconds: str) -> None:
    load = drive(target, templates(pattern, branch), run, int(at_a_time), float(seconds))
    print(json.dumps(asdict(uvloop.run(load))))


if __name__ == "__main__":
    main(*sys.argv[1:])
