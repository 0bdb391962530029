"""Saga, message, TCC and XA for blocking code (PROTOCOL §5-§8)."""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Generic, Self, TypeVar

from coordinator.client import _msg, _saga, _tcc, _xa
from coordinator.client._barrier_blocking import BlockingBarrier, InCaller
from coordinator.client._branch_calls import BranchAnswer
from coordinator.client._errors import Unreachable
from coordinator.client._payload import Payload
from coordinator.client._portal import Portal, in_caller
from coordinator.client._submitted import Submitted

T = TypeVar("T")
ConnectionT = TypeVar("ConnectionT")
GlobalT = TypeVar("GlobalT", _tcc.Tcc, _xa.Xa)


class Saga:
    """See `coordinator.client.Saga`."""

    def __init__(self, saga: _saga.Saga, portal: Portal) -> None:
        self._saga = saga
        self._portal = portal
        self.gid = saga.gid

    def add(
        self, action: str, compensate: str = "", payload: Payload = None, *, after: Iterable[int] = ()
    ) -> "Saga":
        """Append a step and return the saga."""
        self._saga.add(action, compensate, payload, after=after)
        return self

    def submit(self) -> Submitted:
        """Hand the saga in."""
        return self._portal.call(self._saga.submit)


class Msg:
    """See `coordinator.client.Msg`."""

    def __init__(self, msg: _msg.Msg, portal: Portal) -> None:
        self._msg = msg
        self._portal = portal
        self.gid = msg.gid

    def add(self, url: str, payload: Payload = None) -> "Msg":
        """Append a call and return the message."""
        self._msg.add(url, payload)
        return self

    def add_topic(self, topic: str, payload: Payload = None) -> "Msg":
        """Append a call of every subscriber; return the message."""
        self._msg.add_topic(topic, payload)
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

    def do_and_submit(
        self, connection: ConnectionT, business: Callable[[ConnectionT], T], *, table: str = ""
    ) -> T:
        """Run `business(connection)` in a local transaction, with the message: both happen, or neither.

        connection: of sqlite3, pymysql or psycopg; it is used in this thread alone.
        """
        database = BlockingBarrier(connection, table)

        return self._portal.call(
            lambda: self._msg.do_and_submit(
                InCaller(database), lambda _: in_caller(lambda: business(connection))
            )
        )


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
    """See `coordinator.client.Tcc`."""

    def call_branch(self, payload: Payload, try_url: str, confirm_url: str, cancel_url: str) -> BranchAnswer:
        """Register confirm and cancel, then call try; return what it answered."""
        return self._portal.call(lambda: self._inner.call_branch(payload, try_url, confirm_url, cancel_url))


class Xa(_Block[_xa.Xa]):
    """See `coordinator.client.Xa`."""

    def call_branch(self, url: str, payload: Payload = None) -> BranchAnswer:
        """Call a branch, which prepares its local transaction; return its answer."""
        return self._portal.call(lambda: self._inner.call_branch(url, payload))
