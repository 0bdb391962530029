"""The client for blocking code: Flask, Django, scripts. The async one does the work, in its own thread.

    from coordinator.client.sync import Dtm

    with Dtm("http://localhost:36789") as dtm:
        saga = dtm.saga(wait_result=True)
        saga.add(f"{bank}/TransOut", f"{bank}/TransOutRevert", {"amount": 30})
        saga.submit()

One `Dtm` may be used by many threads. The names, options, results and errors are those of
`coordinator.client`; what is handed in as a function runs in the thread that calls.
"""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Generic, Self, TypeVar, Unpack

from coordinator.client import _dtm, _msg, _saga, _tcc, _xa, _xa_branch
from coordinator.client._barrier_blocking import BlockingBarrier, InCaller
from coordinator.client._branch_calls import BranchAnswer
from coordinator.client._errors import InvalidUse
from coordinator.client._options import TransactionOptions
from coordinator.client._payload import Payload
from coordinator.client._portal import Portal, in_caller
from coordinator.client._query import TransactionView
from coordinator.client._request import Source
from coordinator.client._submitted import Submitted
from coordinator.client._sync_barrier import Barrier, barrier, query_prepared
from coordinator.client._sync_workflow import Workflow, WorkflowFunction, Workflows, workflow
from coordinator.client._sync_xa_branch import XaBranch
from coordinator.client._wsgi import blocking_branch_of, error_answer
from coordinator.client._xa_blocking import Connect, open_in_caller

__all__ = [
    "Barrier",
    "Dtm",
    "Msg",
    "Saga",
    "Tcc",
    "Workflow",
    "WorkflowFunction",
    "Workflows",
    "Xa",
    "XaBranch",
    "barrier",
    "error_answer",
    "query_prepared",
    "workflow",
]

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
        self._portal.call(lambda: self._inner.__aexit__(kind, error, traceback))


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


class Dtm:
    """See `coordinator.client.Dtm`; a context manager of blocking code, with a thread of its own."""

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        self._dtm = _dtm.Dtm(url, timeout=timeout)
        self._opened: Portal | None = None

    def __enter__(self) -> Self:
        if self._opened is None:
            self._opened = Portal()
            self._opened.call(self._dtm.__aenter__)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.call(lambda: self._dtm.__aexit__(kind, error, traceback))
            opened.close()

    @property
    def inner(self) -> _dtm.Dtm:
        """The async client that does the work."""
        return self._dtm

    @property
    def portal(self) -> Portal:
        """The thread that it works in; raises InvalidUse when this Dtm was not entered."""
        if self._opened is None:
            raise InvalidUse(f"this Dtm is not open: write `with Dtm({self._dtm.url!r}) as dtm:` around it")
        return self._opened

    @property
    def _entered(self) -> _dtm.Dtm:
        _ = self.portal  # which says so where it is not
        return self._dtm

    def saga(
        self,
        gid: str | None = None,
        *,
        retry_limit: int = 0,
        concurrent: bool = False,
        **options: Unpack[TransactionOptions],
    ) -> Saga:
        """Begin a saga."""
        return Saga(
            self._entered.saga(gid, retry_limit=retry_limit, concurrent=concurrent, **options), self.portal
        )

    def msg(
        self,
        gid: str | None = None,
        *,
        query_prepared: str = "",
        delay: int = 0,
        concurrent: bool = False,
        **options: Unpack[TransactionOptions],
    ) -> Msg:
        """Begin a two-phase message."""
        made = self._entered.msg(
            gid, query_prepared=query_prepared, delay=delay, concurrent=concurrent, **options
        )
        return Msg(made, self.portal)

    def tcc(self, gid: str | None = None, **options: Unpack[TransactionOptions]) -> Tcc:
        """Return a TCC transaction, to be used as a block."""
        return Tcc(self._entered.tcc(gid, **options), self.portal)

    def nested_tcc(self, source: Source, **options: Unpack[TransactionOptions]) -> Tcc:
        """Return the TCC transaction that this try belongs to, for further `call_branch`."""
        return Tcc(self._entered.nested_tcc(blocking_branch_of(source), **options), self.portal)

    def xa(self, gid: str | None = None, **options: Unpack[TransactionOptions]) -> Xa:
        """Return an XA transaction, to be used as a block."""
        return Xa(self._entered.xa(gid, **options), self.portal)

    def nested_xa(self, source: Source, **options: Unpack[TransactionOptions]) -> Xa:
        """Return the XA transaction that this action belongs to, for further `call_branch`."""
        return Xa(self._entered.nested_xa(blocking_branch_of(source), **options), self.portal)

    def xa_branch(self, source: Source, connect: Connect, *, table: str = "") -> XaBranch:
        """Return the local side of one XA branch call, to be used as a block (PROTOCOL §7, §12).

        The one handler is called as action, commit and rollback; only for the action `runs` is true. source:
        as `barrier` takes it. connect: returns a new connection of pymysql or psycopg that the block closes.
        """
        branch = blocking_branch_of(source)
        return XaBranch(
            _xa_branch.XaBranch(self._entered.coordinator, branch, lambda: open_in_caller(connect), table),
            self.portal,
        )

    def subscribe(self, topic: str, url: str, *, remark: str = "") -> None:
        """Add a subscriber to a topic."""
        self.portal.call(lambda: self._dtm.subscribe(topic, url, remark=remark))

    def unsubscribe(self, topic: str, url: str) -> None:
        """Take a subscriber out of a topic."""
        self.portal.call(lambda: self._dtm.unsubscribe(topic, url))

    def delete_topic(self, topic: str) -> None:
        """Delete a topic with all its subscribers."""
        self.portal.call(lambda: self._dtm.delete_topic(topic))

    def new_gid(self) -> str:
        """Return a gid made by the coordinator."""
        return self.portal.call(self._dtm.new_gid)

    def query(self, gid: str) -> TransactionView | None:
        """Return what is stored of a transaction, None when the gid is unknown."""
        return self.portal.call(lambda: self._dtm.query(gid))

    def wait(self, gid: str, *, timeout: float = 30.0) -> TransactionView:
        """Return the transaction as soon as it is final."""
        return self.portal.call(lambda: self._dtm.wait(gid, timeout=timeout))
