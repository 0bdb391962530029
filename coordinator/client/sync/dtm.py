"""`Dtm` for blocking code: the async one, in a thread of its own."""

from collections.abc import Collection, Sequence
from datetime import datetime
from ssl import SSLContext
from types import TracebackType
from typing import Self, Unpack

from coordinator.client import dtm as _dtm
from coordinator.client.errors import InvalidUse
from coordinator.client.frameworks.for_wsgi import blocking_branch_of
from coordinator.client.frameworks.request import Source
from coordinator.client.portal import Portal
from coordinator.client.sync.patterns import Msg, Saga, Tcc, Xa
from coordinator.client.sync.xa_branch import XaBranch
from coordinator.client.transport.base import without_secrets
from coordinator.client.transport.options import TransactionOptions
from coordinator.client.transport.payload import Encoder
from coordinator.client.transport.query import TransactionPage, TransactionView
from coordinator.client.transport.tracing import TracerProvider
from coordinator.client.xa import branch as _xa_branch
from coordinator.client.xa.blocking import Connect, open_in_caller


class Dtm:
    """A `coordinator.client.Dtm` of blocking code, in a thread of its own; raises the same (PROTOCOL §3).

    The end of the block closes it. Calls that wait in other threads are given up then: they raise Unreachable
    when they have undone what they undo, and what they run in their own thread has ended.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        timeout: float = 10.0,
        token: str = "",
        tls: SSLContext | None = None,
        tracer_provider: TracerProvider | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        self._dtm = _dtm.Dtm(
            url, timeout=timeout, token=token, tls=tls, tracer_provider=tracer_provider, encoder=encoder
        )
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
        if self._opened is not None:
            self._opened.close(lambda: self._dtm.__aexit__(kind, error, traceback))
            self._opened = None

    @property
    def inner(self) -> _dtm.Dtm:
        """The async client that does the work."""
        return self._dtm

    @property
    def portal(self) -> Portal:
        """The thread that it works in; raises InvalidUse when this Dtm was not entered."""
        if self._opened is None:
            raise InvalidUse(
                f"this Dtm is not open: write `with Dtm({without_secrets(self._dtm.url)!r}) as dtm:` "
                "around it"
            )
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
        failure_statuses: Collection[int] = (),
        **options: Unpack[TransactionOptions],
    ) -> Saga:
        """Begin a saga."""
        made = self._entered.saga(
            gid,
            retry_limit=retry_limit,
            concurrent=concurrent,
            failure_statuses=failure_statuses,
            **options,
        )
        return Saga(made, self.portal)

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
        as `barrier` takes it. connect: returns a new connection of pymysql, psycopg or psycopg2 that the
        block closes.
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

    def list(
        self,
        *,
        status: str = "",
        trans_type: str = "",
        created_from: datetime | None = None,
        created_until: datetime | None = None,
        limit: int = 100,
        position: str = "",
    ) -> TransactionPage:
        """Return a page of transactions, newest first."""
        return self.portal.call(
            lambda: self._dtm.list(
                status=status,
                trans_type=trans_type,
                created_from=created_from,
                created_until=created_until,
                limit=limit,
                position=position,
            )
        )

    def stop(self, gid: str) -> None:
        """Give a transaction up."""
        self.portal.call(lambda: self._dtm.stop(gid))

    def retry(self, gid: str) -> None:
        """Make a transaction due now."""
        self.portal.call(lambda: self._dtm.retry(gid))

    def wait(self, gid: str, *, timeout: float = 30.0) -> TransactionView:
        """Return the transaction as soon as it is final."""
        return self.portal.call(lambda: self._dtm.wait(gid, timeout=timeout))
