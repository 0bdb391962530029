"""Many branch services in one process, each at an address of its own.

`python -m tests.chaos.pressure_service PORT` listens on 127.0.1.1 to 127.0.1.60. The path says what a call
gets: /ok an answer at once, /slow/2.5 one after 2.5 s, /hang none. GET /calls counts those of each gid.
Little more than a parser: the processor is for the coordinator.
"""

import asyncio
import json
import re
import sys
from collections import Counter

ADDRESSES = [f"127.0.1.{number}" for number in range(1, 61)]
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_GID = re.compile(rb"[?&]gid=([^& ]+)")

calls: Counter[str] = Counter()


class Service(asyncio.Protocol):
    """One connection: a request after the other."""

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = int(length[1]) if length else 0
            if len(rest) < body:
                return
            self._received = rest[body:]
            self._answer(head.split(b" ", 2)[1])

    def _answer(self, path: bytes) -> None:
        gid = _GID.search(path)
        if gid:
            calls[gid[1].decode()] += 1
        if path.startswith(b"/slow/"):
            seconds = float(path.split(b"/")[2].partition(b"?")[0])
            asyncio.get_running_loop().call_later(seconds, self._send, b"{}")
        elif not path.startswith(b"/hang"):
            self._send(json.dumps(calls).encode() if path == b"/calls" else b"{}")

    def _send(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % len(body) + body)


async def main(port: int) -> None:
    loop = asyncio.get_running_loop()
    for address in ADDRESSES:
        await loop.create_server(Service, address, port, backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
