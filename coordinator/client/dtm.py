"""`Dtm`: one connection to a coordinator, and everything that begins with it."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from ssl import SSLContext
from types import TracebackType
from typing import Self, Unpack

from coordinator.client.errors import InvalidUse
from coordinator.client.frameworks.request import Source, branch_of
from coordinator.client.patterns.msg import Msg
from coordinator.client.patterns.saga import Saga
from coordinator.client.patterns.tcc import Tcc
from coordinator.client.patterns.xa import Xa
from coordinator.client.transport.base import TopicOperation
from coordinator.client.transport.checks import (
    check_gid,
    check_number,
    check_seconds,
    check_url,
    checked_gid,
)
from coordinator.client.transport.context import BranchContext
from coordinator.client.transport.coordinator import Coordinator
from coordinator.client.transport.open import Opener, Urls, opener_of
from coordinator.client.transport.options import TransactionOptions, make_options
from coordinator.client.transport.payload import Encoder
from coordinator.client.transport.query import (
    TransactionPage,
    TransactionView,
    list_filter,
    read_page,
    read_query,
)
from coordinator.client.transport.tracing import TracerProvider
from coordinator.client.transport.waiting import until_final
from coordinator.client.xa.branch import Connect, XaBranch
from coordinator.model import Options, TransType


class Dtm:
    """A coordinator, as an async context manager with one pooled connection (PROTOCOL §3, §4, §11).

    url: `http://host:36789`, `grpc://host:36790`, `https://` and `grpcs://` for TLS, or
    `etcd://host:2379/dtmservice` (gRPC to whichever coordinators are registered); several over one database
    in a sequence, or with commas between them, are asked in turns. An Opener is what `coordinator.embedded`
    hands in. The methods are the same, and so are the
    errors. Branches are called with the same protocol unless their url says otherwise. timeout: seconds for
    one operation, all attempts included. A submit with wait_result gets its request_timeout on top. A
    coordinator that does not answer, is full or stopping is asked again within that time, of several another
    one: submitting one gid twice is safe.
    token: by which the coordinator knows this program, where it asks for one; sent to it alone, to no branch.
    tls: a context with its CA, and with our certificate where it asks for one; for coordinators alone, those
    that etcd names as well. None: https and grpcs trust whom the system trusts. Over gRPC it is set to `h2`.
    encoder: makes a payload that is neither bytes, None nor protobuf over gRPC into bytes, instead of
    `encode_json`. tracer_provider: OpenTelemetry's, None for the one that the program has set; the
    transaction continues the trace that runs where it is submitted. Raises InvalidUse for a url of another
    scheme, and for tls with a plain one.

    Example:
        async with Dtm("http://localhost:36789") as dtm:
            await dtm.saga().add("http://bank/out", "http://bank/out-back", {"amount": 30}).submit()
    """

    def __init__(
        self,
        url: str | Sequence[str] | Opener,
        *,
        timeout: float = 10.0,
        token: str = "",
        tls: SSLContext | None = None,
        tracer_provider: TracerProvider | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        check_seconds("timeout", timeout)
        self._opener = opener_of(url, token, tls)
        self.url = ",".join(self._opener.urls) if isinstance(self._opener, Urls) else self._opener.address
        self.timeout = timeout
        self._encoder = encoder
        self._tracer_provider = tracer_provider
        self._coordinator: Coordinator | None = None

    async def __aenter__(self) -> Self:
        if self._coordinator is None:
            self._coordinator = Coordinator(self._opener, self.timeout, self._tracer_provider, self._encoder)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        coordinator, self._coordinator = self._coordinator, None
        if coordinator is not None:
            await coordinator.close()

    def saga(
        self,
        gid: str | None = None,
        *,
        wait_result: bool = False,
        timeout_to_fail: int = 0,
        request_timeout: int = 0,
        retry_interval: int = 0,
        retry_limit: int = 0,
        concurrent: bool = False,
        branch_headers: Mapping[str, str] | None = None,
        failure_statuses: Collection[int] = (),
    ) -> Saga:
        """Begin a saga; nothing is sent before its `submit` (PROTOCOL §6).

        gid: a fresh one when not given. wait_result: `submit` returns when the saga has ended.
        timeout_to_fail: seconds after which it is rolled back; 0: never. request_timeout: seconds for one
        branch call. retry_interval: seconds before the first repeat. retry_limit: repeats within a round
        before it is rolled back; 0: repeated for ever. concurrent: all steps at once, as far as their
        `after` allows. branch_headers: sent with every branch call. failure_statuses: what counts as
        FAILURE beside 409 (gRPC: ABORTED), such as {422}; only our own coordinator can, so `submit` raises
        InvalidUse for another. Times of 0 mean the coordinator's own. Raises InvalidUse, naming what cannot
        be.
        """
        coordinator = self.coordinator
        options = make_options(
            wait_result=wait_result,
            timeout_to_fail=timeout_to_fail,
            request_timeout=request_timeout,
            retry_interval=retry_interval,
            retry_limit=retry_limit,
            concurrent=concurrent,
            branch_headers=branch_headers,
            failure_statuses=failure_statuses,
            protocol=coordinator.protocol,
        )
        return Saga(coordinator, checked_gid(gid, coordinator.protocol), options)

    def msg(
        self,
        gid: str | None = None,
        *,
        query_prepared: str = "",
        delay: int = 0,
        concurrent: bool = False,
        **options: Unpack[TransactionOptions],
    ) -> Msg:
        """Begin a two-phase message; nothing is sent before `submit` or `do_and_submit` (PROTOCOL §8).

        query_prepared: the url that answers whether the sender's local transaction was committed, see
        `query_prepared_handler`; needed by `do_and_submit`. delay: seconds from submit to the first call.
        concurrent: all calls at once. options: see TransactionOptions; timeout_to_fail is when
        query_prepared is asked. Raises InvalidUse, naming what cannot be.
        """
        coordinator = self.coordinator
        check_number("delay", delay)
        check_url("query_prepared", query_prepared, coordinator.protocol, may_be_empty=True)
        made = make_options(concurrent=concurrent, protocol=coordinator.protocol, **options)
        gid = checked_gid(gid, coordinator.protocol)
        return Msg(coordinator, gid, made, query_prepared=query_prepared, delay=delay)

    def tcc(self, gid: str | None = None, **options: Unpack[TransactionOptions]) -> Tcc:
        """Return a TCC transaction, to be used as a block (PROTOCOL §7).

        Leaving the block submits: all confirms are called. An exception aborts, all cancels are called, and
        comes through. options: see TransactionOptions. Entering raises Failure for a gid that was used
        before, and Unreachable; leaving raises Failure when the transaction was rolled back meanwhile
        (timeout_to_fail), Unreachable, and, with wait_result, Ongoing when confirms are not done in time.

        Example:
            async with dtm.tcc() as tcc:
                await tcc.call_branch({"amount": 30}, try_url, confirm_url, cancel_url)
        """
        return Tcc(self.coordinator, self._options(options), self._root(gid, TransType.TCC))

    def nested_tcc(self, source: Source, **options: Unpack[TransactionOptions]) -> Tcc:
        """Return the TCC transaction that this try belongs to, for further `call_branch`; not as a block.

        source: as `barrier` takes it. The branches get the ids `0101`, … and end with the whole transaction.
        """
        return Tcc(self.coordinator, self._options(options), branch_of(source))

    def xa(self, gid: str | None = None, **options: Unpack[TransactionOptions]) -> Xa:
        """Return an XA transaction, to be used as a block (PROTOCOL §7). Ends and raises as `tcc` does.

        Example:
            async with dtm.xa() as xa:
                await xa.call_branch(f"{bank}/TransOut", {"amount": 30})
        """
        return Xa(self.coordinator, self._options(options), self._root(gid, TransType.XA))

    def nested_xa(self, source: Source, **options: Unpack[TransactionOptions]) -> Xa:
        """Return the XA transaction that this action belongs to, for `call_branch`; not as a block."""
        return Xa(self.coordinator, self._options(options), branch_of(source))

    def xa_branch(self, source: Source, connect: Connect, *, table: str = "") -> XaBranch:
        """Return the local side of one XA branch call, to be used as a block (PROTOCOL §7, §12).

        The one handler is called as action, commit and rollback; only for the action `runs` is true. source:
        as `barrier` takes it. connect: returns a new connection of aiomysql or asyncpg that the block closes.
        table: of the barrier, see `barrier`.

        Example:
            async with dtm.xa_branch(request, lambda: aiomysql.connect(...)) as transaction:
                if transaction.runs:
                    async with transaction.connection.cursor() as cursor:
                        await cursor.execute("UPDATE account SET balance = balance - 30 WHERE id = 1")
        """
        return XaBranch(self.coordinator, branch_of(source), connect, table)

    async def subscribe(self, topic: str, url: str, *, remark: str = "") -> None:
        """Add a subscriber to a topic (PROTOCOL §8). Raises DtmError with the coordinator's reason."""
        await self.coordinator.change_topic(TopicOperation.SUBSCRIBE, topic, url, remark)

    async def unsubscribe(self, topic: str, url: str) -> None:
        """Take a subscriber out of a topic. Raises DtmError with the coordinator's reason."""
        await self.coordinator.change_topic(TopicOperation.UNSUBSCRIBE, topic, url, "")

    async def delete_topic(self, topic: str) -> None:
        """Delete a topic with all its subscribers. Raises DtmError with the coordinator's reason."""
        await self.coordinator.change_topic(TopicOperation.DELETE, topic, "", "")

    async def new_gid(self) -> str:
        """Return a gid made by the coordinator. Nothing here needs it: transactions make their own.

        Raises Unreachable.
        """
        return await self.coordinator.new_gid()

    async def query(self, gid: str) -> TransactionView | None:
        """Return what is stored of a transaction, None when the gid is unknown (PROTOCOL §3).

        Raises Unreachable, DtmError, and InvalidUse over gRPC where the coordinator is one in Go: that has
        no such call over gRPC.
        """
        return read_query(await self.coordinator.query(self._known_gid(gid)), gid)

    async def wait(self, gid: str, *, timeout: float = 30.0) -> TransactionView:
        """Return the transaction as soon as it is final; its `failure` says why. timeout: seconds.

        Raises Ongoing when it is not final in time, DtmError for an unknown gid, and what `query` raises.
        """
        check_seconds("timeout", timeout)
        return await until_final(self.coordinator, self._known_gid(gid), timeout)

    async def list(
        self,
        *,
        status: str = "",
        trans_type: str = "",
        created_from: datetime | None = None,
        created_until: datetime | None = None,
        limit: int = 100,
        position: str = "",
    ) -> TransactionPage:
        """Return a page of transactions, newest first, without their branches.

        status: such as Status.FAILED. trans_type: such as `saga`. created_from, created_until: aware.
        limit: of a page, 1,000 at most. position: the next_position of the page before. Raises as `query`.
        """
        wanted = list_filter(status, trans_type, created_from, created_until, limit, position)
        return read_page(await self.coordinator.list(wanted))

    async def stop(self, gid: str) -> None:
        """Give a transaction up: it becomes `failed`, and nothing more is called, not even to undo anything.

        Raises Failure when it has ended already, DtmError for an unknown gid, and as `query`.
        """
        await self.coordinator.stop(self._known_gid(gid))

    async def retry(self, gid: str) -> None:
        """Make a transaction due now, instead of when its back-off ends; nothing for one that has ended.

        Raises DtmError for an unknown gid, and as `query`.
        """
        await self.coordinator.retry(self._known_gid(gid))

    def _known_gid(self, gid: str) -> str:
        check_gid(gid, self.coordinator.protocol)
        return gid

    def _options(self, options: TransactionOptions) -> Options:
        return make_options(protocol=self.coordinator.protocol, **options)

    def _root(self, gid: str | None, trans_type: str) -> BranchContext:
        """The parent of a transaction's first branches, whose own id is empty."""
        return BranchContext(checked_gid(gid, self.coordinator.protocol), trans_type, "", "")

    @property
    def coordinator(self) -> Coordinator:
        """The open connection; raises InvalidUse when this Dtm was not entered."""
        if self._coordinator is None:
            raise InvalidUse(f"this Dtm is not open: write `{self._opener.block}` around it")
        return self._coordinator
