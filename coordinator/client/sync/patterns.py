"""Saga, message, TCC and XA for blocking code (PROTOCOL §5-§8)."""

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

from coordinator.client.barriers import barrier as _barrier
from coordinator.client.barriers.blocking import InCaller
from coordinator.client.barriers.on_redis import is_async_redis, is_blocking_redis
from coordinator.client.barriers.redis_blocking import redis_in_caller
from coordinator.client.barriers.redis_commands import RedisClient, RedisCommands
from coordinator.client.errors import Unreachable
from coordinator.client.patterns import msg as _msg
from coordinator.client.patterns import saga as _saga
from coordinator.client.patterns import tcc as _tcc
from coordinator.client.patterns import xa as _xa
from coordinator.client.patterns.msg_sender import DatabaseSender, Sender, do_and_submit, redis_sender
from coordinator.client.portal import Portal, in_caller
from coordinator.client.sync.connections import blocking_database
from coordinator.client.transport.branch_calls import BranchAnswer
from coordinator.client.transport.context import BranchContext
from coordinator.client.transport.payload import Payload
from coordinator.client.transport.submitted import Submitted

T = TypeVar("T")
ConnectionT = TypeVar("ConnectionT")
GlobalT = TypeVar("GlobalT", _tcc.Tcc, _xa.Xa)


class Saga:
    """A `coordinator.client.Saga` of blocking code; raises the same (PROTOCOL §6)."""

    def __init__(self, saga: _saga.Saga, portal: Portal) -> None:
        self._saga = saga
        self._portal = portal
        self.gid = saga.gid

    def add(
        self,
        action: str,
        compensate: str = "",
        payload: Payload = None,
        *,
        after: Iterable[int] = (),
        headers: Mapping[str, str] | None = None,
        keep_result: bool = False,
        compensate_payload: Payload = None,
    ) -> "Saga":
        """Append a step and return the saga."""
        self._saga.add(
            *(action, compensate, payload),
            after=after,
            headers=headers,
            keep_result=keep_result,
            compensate_payload=compensate_payload,
        )
        return self

    def submit(self) -> Submitted:
        """Hand the saga in."""
        return self._portal.call(self._saga.submit)


class Msg:
    """A `coordinator.client.Msg` of blocking code; raises the same (PROTOCOL §8)."""

    def __init__(self, msg: _msg.Msg, portal: Portal) -> None:
        self._msg = msg
        self._portal = portal
        self.gid = msg.gid

    def add(self, url: str, payload: Payload = None, *, headers: Mapping[str, str] | None = None) -> "Msg":
        """Append a call and return the message."""
        self._msg.add(url, payload, headers=headers)
        return self

    def add_topic(
        self, topic: str, payload: Payload = None, *, headers: Mapping[str, str] | None = None
    ) -> "Msg":
        """Append a call of every subscriber; return the message."""
        self._msg.add_topic(topic, payload, headers=headers)
        return self

    def submit(self) -> Submitted:
        """Hand the message in."""
        return self._portal.call(self._msg.submit)

    def prepare(self) -> None:
        """Announce the message."""
        self._portal.call(self._msg.prepare)

    def abort(self, reason: str = "") -> None:
        """Give a prepared message up."""
        self._portal.call(lambda: self._msg.abort(reason))

    @property
    def sender(self) -> BranchContext:
        """The branch that the sender's own transaction is (§12), for a barrier that is used by hand."""
        return self._msg.sender

    @overload
    def do_and_submit(self, connection: RedisClient, business: Callable[[RedisCommands], T]) -> T: ...

    @overload
    def do_and_submit(
        self, connection: ConnectionT, business: Callable[[ConnectionT], T], *, table: str = ""
    ) -> T: ...

    def do_and_submit(self, connection: Any, business: Callable[[Any], T], *, table: str = "") -> T:
        """Run `business(connection)` in a local transaction, with the message: both happen, or neither (§8).

        connection: what `barrier` takes, or a blocking redis.Redis, whose business gets `RedisCommands`; it
        is used in this thread alone. Returns and raises as `coordinator.client.Msg.do_and_submit`.

        Example:
            msg.do_and_submit(redis, lambda commands: commands.adjust("stock", -1))
        """
        if is_blocking_redis(connection) or is_async_redis(connection):
            sender: Sender = redis_sender(self.sender, redis_in_caller(connection), table)
        else:
            sender = DatabaseSender(
                _barrier.Barrier(self.sender, InCaller(blocking_database(connection, table)))
            )

        async def running(given: Any) -> T:
            with_what = given if isinstance(given, RedisCommands) else connection
            return await in_caller(lambda: business(with_what))

        return self._portal.call(lambda: do_and_submit(self._msg, sender, running))


class _Block(Generic[GlobalT]):
    """A tcc or xa as a block of blocking code."""

    def __init__(self, inner: GlobalT, portal: Portal) -> None:
        self._inner: GlobalT = inner
        self._portal = portal
        self.gid = inner.gid

    def __enter__(self) -> Self:
        self._portal.call(self._inner.__aenter__)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._portal.call(lambda: self._inner.__aexit__(kind, error, traceback))
        except Unreachable as closed:  # the portal's: with an error, the end itself raises nothing
            if error is None:
                raise
            error.add_note(
                f"Transaction {self.gid} could not be aborted at once ({closed}); the coordinator rolls it "
                "back when its timeout_to_fail has passed."
            )


class Tcc(_Block[_tcc.Tcc]):
    """A `coordinator.client.Tcc` of blocking code; raises the same (PROTOCOL §7)."""

    def call_branch(
        self,
        payload: Payload,
        try_url: str,
        confirm_url: str,
        cancel_url: str,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> BranchAnswer:
        """Register confirm and cancel, then call try; return what it answered."""
        return self._portal.call(
            lambda: self._inner.call_branch(payload, try_url, confirm_url, cancel_url, headers=headers)
        )


class Xa(_Block[_xa.Xa]):
    """A `coordinator.client.Xa` of blocking code; raises the same (PROTOCOL §7)."""

    def call_branch(
        self, url: str, payload: Payload = None, *, headers: Mapping[str, str] | None = None
    ) -> BranchAnswer:
        """Call a branch, which prepares its local transaction; return its answer."""
        return self._portal.call(lambda: self._inner.call_branch(url, payload, headers=headers))
