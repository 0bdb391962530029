"""The calls of one gRPC connection: each is a task, which is let go of whether it ever began or not.

grpclib's own handler keeps the stream of a call that is cancelled before its first step, and logs a stack
trace for metadata that it cannot read.
"""

import asyncio
import binascii
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final

from grpclib.const import Status
from grpclib.metadata import decode_bin_value, decode_timeout, encode_grpc_message
from grpclib.protocol import AbstractHandler, Stream
from grpclib.server import request_handler
from h2.exceptions import StreamClosedError

from coordinator.api.room import Room
from coordinator.errors import Busy

_Headers = Collection[tuple[str, str]]

_SHORT_SECONDS: Final = 0.001  # a deadline that has passed before the call begins
_LIVED_SECONDS: Final = 1.0  # a call that ran so long before its client gave it up was one
_BIG_METADATA_BYTES: Final = 8 * 1024  # what is less is not counted


class Calls(AbstractHandler):
    """Starts, cancels and forgets the calls of one connection."""

    closing = False

    def __init__(self, run: "Runner", room: Room, brought: Callable[[], None]) -> None:
        """room: for metadata. brought: called for each call that was one, answered or given up late."""
        self._run = run
        self._room = room
        self._brought = brought
        self._tasks: dict[Stream, asyncio.Task[None]] = {}
        self._cancelled: set[asyncio.Task[None]] = set()

    def accept(self, stream: Stream, headers: Any, release_stream: Callable[[], None]) -> None:
        """A call has come."""
        refused = self._refusal(stream, headers)
        if refused is None:
            work = self._run(stream, headers)
        else:
            work = _refuse(stream, *refused)
        task = asyncio.create_task(work)
        self._tasks[stream] = task
        task.add_done_callback(partial(self._ended, stream, release_stream))

    def _refusal(self, stream: Stream, headers: _Headers) -> tuple[Status, str] | None:
        size, found = 0, 0
        for name, value in headers:
            size += len(name) + len(value)
            if not (name.isascii() and value.isascii()):
                return Status.INVALID_ARGUMENT, f"the metadata {name!a} has a byte that is not ASCII"
            if name in {":method", ":path"}:
                found += 1
            elif name == "grpc-timeout":
                try:
                    if decode_timeout(value) < _SHORT_SECONDS:
                        return Status.DEADLINE_EXCEEDED, f"the deadline of grpc-timeout {value} has passed"
                except ValueError:
                    return Status.INVALID_ARGUMENT, f"grpc-timeout is no time-out: {value[:20]!a}"
            elif name.endswith("-bin"):
                try:
                    decode_bin_value(value.encode())
                except binascii.Error:
                    return Status.INVALID_ARGUMENT, f"the metadata {name!a} is not base64"
        if found < 2:
            return Status.INVALID_ARGUMENT, "the call names no method"
        if size > _BIG_METADATA_BYTES:
            try:
                self._room.take(stream, size)
            except Busy as error:
                return Status.RESOURCE_EXHAUSTED, error.message
        return None

    def _ended(self, stream: Stream, release_stream: Callable[[], None], task: asyncio.Task[None]) -> None:
        answered = self._tasks.pop(stream, None) is not None
        self._cancelled.discard(task)
        self._room.release(stream)
        if answered or time.monotonic() - (stream.created or 0) > _LIVED_SECONDS:
            self._brought()
        if not task.cancelled():
            task.exception()  # `request_handler` has logged it
        release_stream()

    def cancel(self, stream: Stream) -> None:
        """Its client gives a call up."""
        task = self._tasks.pop(stream, None)
        if task is not None:
            task.cancel()
            self._cancelled.add(task)

    def close(self) -> None:
        """The connection ends."""
        for stream in tuple(self._tasks):
            self.cancel(stream)
        self.closing = True

    async def wait_closed(self) -> None:
        """Wait for what was cancelled."""
        if self._cancelled:
            await asyncio.wait(self._cancelled)

    def check_closed(self) -> bool:
        """Whether nothing runs any more; asked by grpclib's server."""
        return not self._tasks and not self._cancelled


class Runner:
    """Runs one call as grpclib does."""

    def __init__(self, methods: Any, codec: Any, details_codec: Any, dispatch: Any) -> None:
        """All four as grpclib's server has them."""
        self._methods = methods
        self._codec = codec
        self._details_codec = details_codec
        self._dispatch = dispatch

    async def __call__(self, stream: Stream, headers: Any) -> None:
        """Answer it."""
        await request_handler(
            self._methods, stream, headers, self._codec, self._details_codec, self._dispatch, _nothing
        )


def _nothing() -> None:
    """In place of releasing the stream: that is done when the task has ended."""


async def _refuse(stream: Stream, status: Status, sentence: str) -> None:
    headers = [
        (":status", "200"),
        ("content-type", "application/grpc+proto"),
        ("grpc-status", str(status.value)),
        ("grpc-message", encode_grpc_message(sentence)),
    ]
    try:
        await stream.send_headers(headers, end_stream=True)
        if stream.closable:
            stream.reset_nowait()
    except StreamClosedError:
        pass  # the client has gone
