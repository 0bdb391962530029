"""`Dtm`: one connection to a coordinator, and everything that begins with it."""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Self, Unpack
from uuid import uuid4

from opentelemetry.trace import TracerProvider

from coordinator.client.errors import DtmError, InvalidUse, Ongoing
from coordinator.client.frameworks.request import Source, branch_of
from coordinator.client.patterns.msg import Msg
from coordinator.client.patterns.saga import Saga
from coordinator.client.patterns.tcc import Tcc
from coordinator.client.patterns.xa import Xa
from coordinator.client.transport.attempts import FIRST_PAUSE_SECONDS, LEAST_SECONDS, LONGEST_PAUSE_SECONDS
from coordinator.client.transport.base import TopicOperation, without_secrets
from coordinator.client.transport.context import BranchContext
from coordinator.client.transport.coordinator import Coordinator
from coordinator.client.transport.open import check_url
from coordinator.client.transport.options import TransactionOptions, make_options
from coordinator.client.transport.query import TransactionView, read_query
from coordinator.client.xa.branch import Connect, XaBranch
from coordinator.model import TransType


class Dtm:
    """A coordinator, as an async context manager with one pooled connection (PROTOCOL §3, §4, §11).

    url: `http://host:36789`, `grpc://host:36790`, or `etcd://host:2379/dtmservice` (gRPC to whichever
    coordinators are registered); the methods are the same, and so are the errors. Branches are called with
    the same protocol unless their url says otherwise. timeout: seconds for one operation, all attempts
    included. A submit with wait_result gets its request_timeout on top. A coordinator that does not answer is
    asked again within that time, with growing pauses: submitting one gid twice is safe.
    tracer_provider: OpenTelemetry's, None for the one that the program has set; the transaction continues the
    trace that runs where it is submitted. Raises InvalidUse for a url of another scheme.

    Example:
        async with Dtm("http://localhost:36789") as dtm:
            await dtm.saga().add("http://bank/TransOut", "http://bank/TransOutRevert", {"amount":
            30}).submit()
    """

    def __init__(
        self, url: str, *, timeout: float = 10.0, tracer_provider: TracerProvider | None = None
    ) -> None:
        check_url(url)
        if timeout <= 0:
            raise InvalidUse(f"timeout={timeout}: give the seconds that one operation may take")
        self.url = url
        self.timeout = timeout
        self._tracer_provider = tracer_provider
        self._coordinator: Coordinator | None = None

    async def __aenter__(self) -> Self:
        if self._coordinator is None:
            self._coordinator = Coordinator(self.url, self.timeout, self._tracer_provider)
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
    ) -> Saga:
        """Begin a saga; nothing is sent before its `submit` (PROTOCOL §6).

        gid: a fresh one when not given. wait_result: `submit` returns when the saga has ended.
        timeout_to_fail: seconds after which it is rolled back; 0: never. request_timeout: seconds for one
        branch call. retry_interval: seconds before the first repeat. retry_limit: repeats within a round
        before it is rolled back; 0: repeated for ever. concurrent: all steps at once, as far as their `after`
        allows. branch_headers: sent with every branch call. Times of 0 mean the coordinator's own. Raises
        InvalidUse for negative ones.
        """
        options = make_options(
            wait_result=wait_result,
            timeout_to_fail=timeout_to_fail,
            request_timeout=request_timeout,
            retry_interval=retry_interval,
            retry_limit=retry_limit,
            concurrent=concurrent,
            branch_headers=branch_headers,
        )
        return Saga(self.coordinator, gid or make_gid(), options)

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
        query_prepared is asked. Raises InvalidUse for negative times.
        """
        if delay < 0:
            raise InvalidUse(f"delay={delay}: give a number of seconds that is not negative")
        made = make_options(concurrent=concurrent, **options)
        return Msg(self.coordinator, gid or make_gid(), made, query_prepared=query_prepared, delay=delay)

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
        return Tcc(self.coordinator, make_options(**options), _root(gid, TransType.TCC))

    def nested_tcc(self, source: Source, **options: Unpack[TransactionOptions]) -> Tcc:
        """Return the TCC transaction that this try belongs to, for further `call_branch`; not as a block.

        source: as `barrier` takes it. The branches get the ids `0101`, … and end with the whole transaction.
        """
        return Tcc(self.coordinator, make_options(**options), branch_of(source))

    def xa(self, gid: str | None = None, **options: Unpack[TransactionOptions]) -> Xa:
        """Return an XA transaction, to be used as a block (PROTOCOL §7). Ends and raises as `tcc` does.

        Example:
            async with dtm.xa() as xa:
                await xa.call_branch(f"{bank}/TransOut", {"amount": 30})
        """
        return Xa(self.coordinator, make_options(**options), _root(gid, TransType.XA))

    def nested_xa(self, source: Source, **options: Unpack[TransactionOptions]) -> Xa:
        """Return the XA transaction that this action belongs to, for `call_branch`; not as a block."""
        return Xa(self.coordinator, make_options(**options), branch_of(source))

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
        """Return what is stored of a transaction, None when the gid is unknown. HTTP only (PROTOCOL §3).

        Raises Unreachable, InvalidUse over gRPC, DtmError.
        """
        return read_query(await self.coordinator.query(gid), gid)

    async def wait(self, gid: str, *, timeout: float = 30.0) -> TransactionView:
        """Return the transaction as soon as it is final. HTTP only. timeout: seconds.

        Raises Ongoing when it is not final in time, DtmError for an unknown gid, and what `query` raises.
        """
        loop, pause = asyncio.get_running_loop(), FIRST_PAUSE_SECONDS
        deadline = loop.time() + timeout
        while True:
            # One question goes on for self.timeout where nobody answers: no longer than was asked for.
            left = max(deadline - loop.time(), LEAST_SECONDS)
            stored = read_query(await self.coordinator.query(gid, seconds_max=left), gid)
            if stored is None:
                raise DtmError(f"no transaction {gid}", gid=gid)
            if stored.is_final:
                return stored
            if loop.time() + pause > deadline:
                raise Ongoing(f"transaction {gid} is {stored.status} after {timeout} s", gid=gid)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    @property
    def coordinator(self) -> Coordinator:
        """The open connection; raises InvalidUse when this Dtm was not entered."""
        if self._coordinator is None:
            raise InvalidUse(
                f"this Dtm is not open: write `async with Dtm({without_secrets(self.url)!r}) as dtm:` "
                "around it"
            )
        return self._coordinator


def _root(gid: str | None, trans_type: str) -> BranchContext:
    """The parent of a transaction's first branches, whose own id is empty."""
    return BranchContext(gid or make_gid(), trans_type, "", "")


def make_gid() -> str:
    """Return a fresh gid, in lower case because MySQL compares gids whatever their case."""
    return uuid4().hex
