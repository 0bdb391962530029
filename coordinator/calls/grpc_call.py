"""A unary gRPC call on its way: how much of it may be sent, what came back, who waits for it."""

import asyncio

from coordinator.calls.grpc_reply import GrpcStatus, Reply
from coordinator.http2.frames import Code
from coordinator.http2.outgoing import SendWindow


class Call:
    """window: of what is sent. bytes_max: of the reply's message. keeps_bytes: how much of it is kept."""

    def __init__(self, window: SendWindow, bytes_max: int, keeps_bytes: int = 0) -> None:
        self.window = window
        self.outcome: asyncio.Future[GrpcStatus] = asyncio.get_running_loop().create_future()
        self.reply = Reply(bytes_max, self._done, keeps_bytes)
        self.is_reset = False  # by the server

    def _done(self, outcome: GrpcStatus | Exception) -> None:
        if self.outcome.done():
            return
        if isinstance(outcome, Exception):
            self.outcome.set_exception(outcome)
        else:
            self.outcome.set_result(outcome)


def named(code: int) -> str:
    """An error code of HTTP/2, by its name where it has one."""
    try:
        return Code(code).name
    except ValueError:
        return str(code)
