"""One gRPC call, as who answers it has it: what the client sends, what it is answered, when it is over.

It is over for its client when that is answered, gives up or has no more time. What was asked goes on all the
same (`protected`), and only then the task ends that answers the call.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from coordinator.api import grpc_answers as answers
from coordinator.api.grpc_head import Head
from coordinator.api.grpc_incoming import CALL_BYTES, Incoming
from coordinator.api.peer import Peer
from coordinator.api.room import Room
from coordinator.deadlines import Deadlines
from coordinator.errors import INTERNAL_ERROR, DtmError
from coordinator.http2 import frames
from coordinator.http2.frames import Code, frame
from coordinator.http2.outgoing import Outgoing, SendWindow
from coordinator.telemetry.log import log

MESSAGE_SECONDS_MAX: Final = 30.0  # as long as an HTTP body may take
WINDOW_BYTES: Final = 4 * 1024 * 1024  # on their way: of a call, and of all of a connection together
TOLD_EVERY: Final = WINDOW_BYTES // 4  # bytes taken, after which the client is told
UNREAD_SECONDS_MAX: Final = 30.0  # how long a client may take nothing of an answer

STATUSES: Final = {status.value: status for status in Status}
_TOO_LATE: Final = "the deadline of the call has passed"

R = TypeVar("R")

Answer = Callable[["Call"], Awaitable[None]]  # sends the answer, or raises GRPCError or DtmError


class Method(NamedTuple):
    """How a call is answered. is_single: see Incoming."""

    answer: Answer
    is_single: bool = True


@dataclass(frozen=True, slots=True)
class Around:
    """What all calls of a server share. bytes_max: of a message. running: who answers which."""

    room: Room
    deadlines: Deadlines
    bytes_max: int
    running: "dict[asyncio.Task[None], Call]"


def status_of(error: DtmError) -> Status:
    """How gRPC says it."""
    return STATUSES[error.grpc_status]


class Call:
    """Made by its connection. left: called once, when the call is over; answered?"""

    __slots__ = (
        "_around",
        "_has_begun",
        "_has_message",
        "_left",
        "_out",
        "_tick",
        "_untold",
        "_waiter",
        "head",
        "incoming",
        "is_over",
        "is_protected",
        "method",
        "number",
        "peer",
        "since",
        "task",
        "when_over",
        "window",
    )

    def __init__(
        self,
        number: int,
        head: Head,
        method: Method,
        *,
        peer: Peer,
        since: float,
        out: Outgoing,
        around: Around,
        left: "Callable[[Call, bool], None]",
    ) -> None:
        """number: of its stream. since: seconds of the loop's clock."""
        self.number = number
        self.head = head
        self.method = method
        self.peer = peer
        self.since = since
        self.incoming = Incoming(self, around.room, bytes_max=around.bytes_max, is_single=method.is_single)
        self.window = SendWindow()
        self.when_over: Callable[[bool], None] | None = None  # told whether it was answered well
        self.is_over = False
        self.is_protected = False
        self.task: asyncio.Task[None] | None = None
        self._out = out
        self._around = around
        self._left = left
        self._tick: int | None = None  # of its deadline
        self._waiter: asyncio.Future[None] | None = None  # who wants a message
        self._untold = 0  # bytes taken, since the client was last told
        self._has_begun = False  # to be answered
        self._has_message = False  # that was wanted

    @property
    def metadata(self) -> Mapping[str, str]:
        """By name, in lower case."""
        return self.head.by_name()

    # --- what comes ---

    def start(self) -> None:
        """Let it be answered; its deadline runs."""
        around = self._around
        if self.head.timeout is not None:
            self._tick = around.deadlines.add(self, self.head.timeout)
        self.task = task = asyncio.get_running_loop().create_task(self._run())
        around.running[task] = self
        task.add_done_callback(self._ended)

    def take(self, data: bytes, size: int, *, ended: bool) -> bool:
        """A part of what the client sends; False when it is more than it may. size: as windows count it."""
        incoming = self.incoming
        incoming.take(data, ended=ended)
        if self._waiter is not None and incoming.is_ready and not self._waiter.done():
            self._waiter.set_result(None)
        self._untold += size
        if self._untold > WINDOW_BYTES:
            return False
        self._tell()
        return True

    def _tell(self) -> None:
        """Let the client send on, unless messages of it wait."""
        incoming = self.incoming
        if self._untold >= TOLD_EVERY and not (incoming.has_whole or incoming.has_ended or self.is_over):
            self._out.send(frame(frames.WINDOW_UPDATE, 0, self.number, frames.number(self._untold)))
            self._untold = 0

    def give_up(self) -> None:
        """The client takes no answer any more."""
        if self.is_over:
            return
        self._finish(is_answered=False)
        if self.task is not None and not self.is_protected:
            self.task.cancel()

    def expire(self) -> None:
        """Its deadline has passed."""
        self._tick = None
        if self.is_over:
            return
        self.refuse(Status.DEADLINE_EXCEEDED, _TOO_LATE)
        if self.task is not None and not self.is_protected:
            self.task.cancel()

    # --- for who answers ---

    async def receive(self) -> bytes | None:
        """The next message, None behind the last. Raises as Incoming.next does, and if the first is late."""
        incoming = self.incoming
        if self._has_message:
            incoming.forget()
            await asyncio.sleep(0)  # others have their turn, and what was answered leaves
        if not incoming.is_ready:
            await self._arrival()
        self._has_message = True
        message = incoming.next()
        if not self.method.is_single:
            self._tell()
        return message

    async def _arrival(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            if self._has_message:
                await self._waiter
                return
            with self._around.deadlines.within(MESSAGE_SECONDS_MAX):
                await self._waiter
        except TimeoutError as error:
            sentence = f"the message did not arrive within {MESSAGE_SECONDS_MAX:.0f} seconds"
            raise GRPCError(Status.DEADLINE_EXCEEDED, sentence) from error
        finally:
            self._waiter = None

    async def protected(self, operation: Awaitable[R]) -> R:
        """Await what goes on when the client goes away or its deadline passes."""
        self.is_protected = True
        try:
            return await operation
        finally:
            self.is_protected = False

    async def reply(self, message: bytes) -> None:
        """Answer with this message, and no other. Raises Busy where there is no room for it to wait."""
        if self.is_over:
            return
        size = answers.PREFIX_BYTES + len(message)
        if not self._has_begun and self._out.takes_at_once(self.window, size):
            self._out.send(answers.whole(self.number, message))
            self._close(is_ok=True)
            return
        self._around.room.take(self, CALL_BYTES + size)
        await self.send(message)
        self.end()

    async def send(self, message: bytes) -> None:
        """Send one message of several. Raises CancelledError where nobody takes it."""
        if self.is_over:
            raise asyncio.CancelledError
        if not self._has_begun:
            self._has_begun = True
            self._out.headers(self.number, answers.BEGIN)
        within = self._around.deadlines.within
        try:
            await self._out.message(
                self.number,
                self.window,
                answers.prefixed(message),
                ends=False,
                patience=lambda: within(UNREAD_SECONDS_MAX),
            )
        except TimeoutError:
            self._out.send(frame(frames.RST_STREAM, 0, self.number, frames.number(Code.CANCEL)))
            self._finish(is_answered=False)
            raise asyncio.CancelledError from None

    def end(self) -> None:
        """Behind the last message: it went well."""
        if self.is_over:
            return
        self._out.headers(
            self.number, answers.DONE if self._has_begun else answers.BEGIN + answers.DONE, ends=True
        )
        self._close(is_ok=True)

    def refuse(self, status: Status, message: str | None, metadata: Mapping[str, str] | None = None) -> None:
        """Answer with an error. metadata: goes with it."""
        if self.is_over:
            return
        block = answers.refusal(status, message, metadata or {}, has_begun=self._has_begun)
        self._out.headers(self.number, block, ends=True)
        self._close(is_ok=False)

    # --- how it ends ---

    async def _run(self) -> None:
        try:
            self.incoming.expect()
            await self.method.answer(self)
        except GRPCError as error:
            self.refuse(error.status, error.message, error.details)
        except DtmError as error:
            self.refuse(status_of(error), error.message)
        except Exception as error:  # noqa: BLE001 - the edge: a fault of ours must be in the log, and answered
            log.error("gRPC {} failed", self.head.path, exception=error)
            self.refuse(Status.INTERNAL, INTERNAL_ERROR)

    def _close(self, *, is_ok: bool) -> None:
        """Behind the trailers: what the client still sends is for nobody."""
        if not self.incoming.has_ended:
            self._out.send(frame(frames.RST_STREAM, 0, self.number, frames.number(Code.NO_ERROR)))
        self._finish(is_answered=True, is_ok=is_ok)

    def _finish(self, *, is_answered: bool, is_ok: bool = False) -> None:
        self.is_over = True
        self.incoming.drop()
        if self._tick is not None:
            self._around.deadlines.remove(self, self._tick)
            self._tick = None
        if self.task is None:
            self._around.room.release(self)
        self._left(self, is_answered)
        if self.when_over is not None:
            self.when_over(is_ok)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._around.running.pop(task, None)
        self._around.room.release(self)
        if not self.is_over and task.cancelled():  # by nobody here: the loop ends
            self.give_up()
        self.refuse(Status.INTERNAL, INTERNAL_ERROR)  # unless there was an answer
