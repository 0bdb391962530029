"""One unary gRPC call over grpclib whose reply is counted and dropped: a branch says all by its status."""

import asyncio
from typing import Final, Self

from grpclib.client import Channel, Stream
from grpclib.const import Cardinality
from grpclib.encoding.base import GRPC_CONTENT_TYPE
from grpclib.metadata import Deadline
from grpclib.utils import Wrapper
from multidict import MultiDict

from coordinator.calls.channels import RawCodec

_CODEC: Final = RawCodec()
_READ_BYTES: Final = 65_536
_HEADER_BYTES: Final = 5  # of a message: one flag, four bytes of length


class CannotConnect(Exception):
    """No connection: nothing was sent, so another endpoint may be tried."""


class ReplyTooLong(Exception):
    """The reply has more bytes than are taken."""


class _CountingWrapper(Wrapper):
    """Counts how often it interrupted its task.

    When a connection breaks, grpclib cancels the tasks that wait for it and turns the CancelledError into an
    error of its own: the task still counts as cancelled, and a cancellation from outside just then is lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.interruptions = 0

    def cancel(self, error: Exception) -> None:
        """Interrupt the waiting task with the error."""
        self.interruptions += len(self._tasks)
        super().cancel(error)


class BranchStream(Stream[bytes, bytes]):
    """A call in progress. Use as `async with`, then `connect`, `send_message`, `drop_reply`.

    metadata: what the branch is told. timeout: seconds, told to the server; the caller has to keep to it.
    """

    def __init__(
        self, channel: Channel, path: str, metadata: "MultiDict[str | bytes]", timeout: float
    ) -> None:
        super().__init__(
            channel,
            path,
            metadata,  # type: ignore[arg-type]  # a NewType that grpclib keeps to itself
            Cardinality.UNARY_UNARY,
            bytes,
            bytes,
            codec=_CODEC,
            status_details_codec=None,
            dispatch=channel.__dispatch__,
            deadline=Deadline.from_timeout(timeout),
        )
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._wrapper: _CountingWrapper = _CountingWrapper()

    async def __aenter__(self) -> Self:
        """Start. The deadline is only a header here: the caller's own covers resolving and connecting too."""
        return self

    async def connect(self) -> None:
        """Connect unless the channel is connected, and send what goes ahead of the message.

        Raises CannotConnect: refused, unknown host, unreachable.
        """
        try:
            await self.send_request()
        except OSError as error:
            raise CannotConnect(error.strerror or str(error)) from error

    async def drop_reply(self, bytes_max: int) -> None:
        """Read the reply and the status. Raises ReplyTooLong, and what grpclib raises."""
        await self.recv_initial_metadata()
        with self._wrapper:
            header = await self._stream.recv_data(_HEADER_BYTES)
            left = int.from_bytes(header[1:], "big")
            if left > bytes_max:
                raise ReplyTooLong(f"the reply has {left} bytes; at most {bytes_max} are taken")
            while left > 0:
                left -= len(await self._stream.recv_data(min(left, _READ_BYTES)))
        await self.recv_trailing_metadata()

    def _raise_for_content_type(self, headers_map: dict[str, str]) -> None:
        # Nobody reads the reply, so its encoding does not matter, and a status counts whatever surrounds it:
        # grpclib's own server sends UNIMPLEMENTED without a content type.
        if "grpc-status" in headers_map or headers_map.get("content-type", "").startswith(GRPC_CONTENT_TYPE):
            return
        super()._raise_for_content_type(headers_map)

    def settle(self) -> None:
        """Afterwards, make the task's cancellations right again. Raises CancelledError if one was lost."""
        for _ in range(self._wrapper.interruptions):
            self._task.uncancel()
        if self._wrapper.interruptions and self._task.cancelling() > self._cancelling:
            raise asyncio.CancelledError
