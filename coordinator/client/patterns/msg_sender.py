"""The sender's side of a message: its business and the message, both or neither (PROTOCOL §8, §12)."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from coordinator.client.barriers.barrier import Barrier, BarrierTransaction
from coordinator.client.barriers.on_redis import (
    RedisBarrier,
    is_async_redis,
    is_blocking_redis,
    redis_query_prepared,
)
from coordinator.client.barriers.redis_commands import RedisCommands
from coordinator.client.barriers.rules import GIVEN_UP, Outcome
from coordinator.client.errors import DtmError, Duplicated, Failure, InvalidUse
from coordinator.client.transport.answers import already
from coordinator.client.transport.context import BranchContext
from coordinator.model import Status

ConnectionT = TypeVar("ConnectionT")
T = TypeVar("T")

_REASON_CHARACTERS_MAX: Final = 500


class Announced(Protocol):
    """What is done with the message."""

    gid: str

    async def prepare(self) -> None:
        """Announce it."""
        ...

    async def submit(self) -> object:
        """Hand it in."""
        ...

    async def abort(self, reason: str = "") -> None:
        """Give it up."""
        ...


class NotFirst(Exception):
    """The sender's barrier row was there already. reason: what is stored in it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DatabaseSender(Generic[ConnectionT]):
    """The local transaction of a database."""

    def __init__(self, barrier: Barrier[ConnectionT]) -> None:
        self._barrier = barrier

    @property
    def did_nothing(self) -> bool:
        """True when nothing can have been done."""
        return self._barrier.rolled_back

    async def run(self, business: Callable[[ConnectionT], Awaitable[T]]) -> T:
        """Do the business behind the barrier. Raises NotFirst, and what business raises."""

        async def work(transaction: BarrierTransaction[ConnectionT]) -> T:
            if not transaction.runs:
                raise NotFirst(await self._barrier.own_reason())
            return await business(transaction.connection)

        return await self._barrier.run(work)


class RedisSender:
    """The one script of a Redis. Its business only says what is to be done."""

    def __init__(self, branch: BranchContext, redis: Any) -> None:
        self._branch = branch
        self._redis = redis
        self._barrier = RedisBarrier(branch, redis)
        self.did_nothing = True

    async def run(self, business: Callable[[RedisCommands], Awaitable[T]]) -> T:
        """Do what business queues. Raises NotFirst, Failure of a check, and what business raises."""
        from redis.exceptions import DataError, ResponseError  # whoever has a client has these

        try:
            async with self._barrier as commands:
                result = await business(commands)
                self.did_nothing = False  # the script is on its way
        except DataError:
            self.did_nothing = True  # of the client itself: nothing was sent
            raise
        except ResponseError as error:
            self.did_nothing = self.did_nothing or await self._is_shut_out(error)
            raise
        except DtmError:
            self.did_nothing = self.did_nothing or self._barrier.refused
            raise
        if self._barrier.outcome is not Outcome.RUN:
            raise NotFirst(await self._barrier.own_reason())
        return result

    async def _is_shut_out(self, error: Exception) -> bool:
        """Shut the script out as query_prepared does; False where it has run.

        Clients repeat by themselves after a lost connection: an error that answers the second attempt, as of
        a server that is read-only by then, says nothing of the first.
        """
        from redis.exceptions import RedisError

        try:
            await redis_query_prepared(self._branch, self._redis)
        except Failure:
            return True
        except (RedisError, DtmError) as problem:
            error.add_note(f"Whether it had run could not be asked at once: {problem}")
        return False


Sender = DatabaseSender[Any] | RedisSender


def sender_of(branch: BranchContext, connection: Any, table: str) -> Sender:
    """Return the sender's side for a connection, or a client of Redis. Raises InvalidUse."""
    if is_async_redis(connection) or is_blocking_redis(connection):
        return redis_sender(branch, connection, table)
    return DatabaseSender(Barrier(branch, connection, table))


def redis_sender(branch: BranchContext, redis: Any, table: str) -> RedisSender:
    """Return the sender's side for a Redis. Raises InvalidUse for a client that is blocking."""
    if table:
        raise InvalidUse(f"table={table!r}: Redis has none, the barrier is a key there")
    return RedisSender(branch, redis)


async def do_and_submit(msg: Announced, sender: Sender, business: Callable[[Any], Awaitable[T]]) -> T:
    """Announce the message, do the business, hand the message in; see `Msg.do_and_submit`."""
    try:
        await msg.prepare()
    except Failure as used:
        if already(used) in (Status.SUBMITTED, Status.SUCCEED):
            raise _duplicated(msg) from used
        raise
    try:
        result = await sender.run(business)
    except NotFirst as again:
        if again.reason == GIVEN_UP:
            await _give_up(msg, again)
            raise Failure(
                f"message {msg.gid} was given up before its local transaction: nothing was done",
                gid=msg.gid,
            ) from None
        await msg.submit()
        raise _duplicated(msg) from None
    except BaseException as error:
        if sender.did_nothing:
            await _give_up(msg, error)
        else:
            error.add_note(
                f"Not known whether the local transaction of message {msg.gid} was committed: the "
                "coordinator will ask query_prepared and act on its answer."
            )
        raise
    await msg.submit()
    return result


def _duplicated(msg: Announced) -> Duplicated:
    return Duplicated(
        f"the business of message {msg.gid} was done by an earlier call; not done again", gid=msg.gid
    )


async def _give_up(msg: Announced, error: BaseException) -> None:
    """Abort; where that cannot be said now, query_prepared says it later."""
    if not isinstance(error, Exception):
        return  # cancelled: no time for further calls
    try:
        await msg.abort(str(error)[:_REASON_CHARACTERS_MAX])
    except DtmError as problem:
        error.add_note(f"Message {msg.gid} could not be aborted at once: {problem}")
