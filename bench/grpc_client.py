"""The gRPC load generator: `python -m bench.grpc_client TARGET BRANCH RUN AT_A_TIME SECONDS`; prints JSON."""

import asyncio
import json
import sys
from itertools import count
from time import perf_counter

import uvloop
from google.protobuf import descriptor_pool, message_factory
from grpclib import GRPCError
from grpclib.client import Channel
from grpclib.const import Cardinality

from bench.raw import RawCodec
from coordinator.proto import register_descriptors

_SUBMIT = "/dtmgimp.Dtm/Submit"
_CHANNELS = 2  # connections that share the load
_ANSWER_SECONDS = 10  # how long the last answers may take
_PAYLOAD = b"\x08\x1e"
_MARK = "#" * 12  # where each request gets its number; the encoded length stays the same


def encoded_saga(gid: str, branch: str) -> bytes:
    """A DtmRequest of two steps that waits for its result."""
    register_descriptors()
    request_class = message_factory.GetMessageClass(
        descriptor_pool.Default().FindMessageTypeByName("dtmgimp.DtmRequest")
    )
    names = ("TransOut", "TransIn")
    steps = [
        {"action": f"{branch}/bench.Branch/{name}", "compensate": f"{branch}/bench.Branch/{name}Revert"}
        for name in names
    ]
    encoded: bytes = request_class(
        Gid=gid,
        TransType="saga",
        TransOptions={"WaitResult": True},
        BinPayloads=[_PAYLOAD] * len(names),
        Steps=json.dumps(steps),
    ).SerializeToString()
    return encoded


async def drive(target: str, branch: str, run: str, at_a_time: int, seconds: float) -> dict[str, float]:
    """Keep `at_a_time` sagas running for so long; returns the fields of Load."""
    host, port = target.rsplit(":", 1)
    channels = [Channel(host, int(port), codec=RawCodec()) for _ in range(_CHANNELS)]
    before, after = encoded_saga(f"{run}-{_MARK}", branch).split(_MARK.encode())
    numbers, taken = count(), []
    errors = 0
    begin = perf_counter()
    end = begin + seconds

    async def one_after_the_other(channel: Channel) -> None:
        nonlocal errors
        while (started := perf_counter()) < end:
            request = b"%s%012d%s" % (before, next(numbers), after)
            try:
                async with channel.request(_SUBMIT, Cardinality.UNARY_UNARY, bytes, bytes) as stream:
                    await stream.send_message(request, end=True)
                    await stream.recv_message()
            except (GRPCError, OSError):
                errors += 1
            else:
                taken.append(perf_counter() - started)

    tasks = [
        asyncio.create_task(one_after_the_other(channels[place % _CHANNELS])) for place in range(at_a_time)
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
    return {
        "sagas": len(taken),
        "seconds": lasted,
        "errors": errors,
        "p50_ms": 1000 * taken[len(taken) // 2] if taken else 0,
        "p99_ms": 1000 * taken[len(taken) * 99 // 100] if taken else 0,
    }


if __name__ == "__main__":
    load = drive(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
    print(json.dumps(uvloop.run(load)))
