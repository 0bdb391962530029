"""The two-phase message: calls that surely follow a committed local transaction (PROTOCOL §8)."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import orjson

from coordinator.client._barrier import Barrier
from coordinator.client._barrier_rules import SENDER_BRANCH
from coordinator.client._context import BranchContext
from coordinator.client._coordinator import Coordinator
from coordinator.client._errors import DtmError, Duplicated, Failure, InvalidUse
from coordinator.client._payload import Payload, encode_step
from coordinator.client._query_prepared import GIVEN_UP
from coordinator.client._submitted import Submitted, submitted
from coordinator.client._transport import Operation
from coordinator.model import Op, Options, Step, TransactionRequest, TransType

ConnectionT = TypeVar("ConnectionT")
T = TypeVar("T")

TOPIC_PREFIX: Final = "topic://"


class Msg:
    """A two-phase message in the making (PROTOCOL §8); made by `Dtm.msg`.

    Example:
        msg = dtm.msg(query_prepared="http://shop/query-prepared")
        msg.add("http://mail/send", {"to": "ann"}).add_topic("orders", {"id": 7})
        await msg.do_and_submit(connection, save_order)  # both, or neither
    """

    def __init__(
        self, coordinator: Coordinator, gid: str, options: Options, *, query_prepared: str, delay: int
    ) -> None:
        self.gid = gid
        self._coordinator = coordinator
        self._options = options
        self._query_prepared = query_prepared
        self._delay = delay
        self._steps: list[Step] = []
        self._payloads: list[bytes] = []

    @property
    def sender(self) -> BranchContext:
        """The branch that the sender's own transaction is (§12), for a barrier that is used by hand.

        For Redis, which `do_and_submit` does not take: submit only what has run; of everything else
        `redis_query_prepared` decides.

        Example:
            await msg.prepare()
            async with RedisBarrier(msg.sender, redis) as commands:
                commands.execute("DECR", "stock")
            if commands.outcome is Outcome.RUN:
                await msg.submit()
        """
        return BranchContext(self.gid, TransType.MSG, SENDER_BRANCH, Op.MSG)

    def add(self, url: str, payload: Payload = None) -> "Msg":
        """Append a call and return the message. url: as §10 writes it, or `topic://name`.

        Raises InvalidUse for a payload that cannot be sent.
        """
        encoded = encode_step(payload, self._coordinator.protocol, len(self._steps), url, self.gid)
        self._steps.append(Step(action=url))
        self._payloads.append(encoded)
        return self

    def add_topic(self, topic: str, payload: Payload = None) -> "Msg":
        """Append a call of every subscriber that the topic has at submit; return the message."""
        return self.add(TOPIC_PREFIX + topic, payload)

    async def submit(self) -> Submitted:
        """Hand the message in: from now on it is delivered, however long that takes. Safe to repeat.

        Without wait_result: returns once it is stored. With it: returns when every call has succeeded, raises
        Ongoing when that takes longer (or is delayed). Raises Failure when it was given up before (its
        query_prepared said no), Unreachable, and DtmError, for instance for an unknown topic.
        """
        await self._coordinator.operate(Operation.SUBMIT, self._request())
        return submitted(self.gid, self._options)

    async def prepare(self) -> None:
        """Announce the message: after timeout_to_fail seconds without a submit, query_prepared decides.

        `do_and_submit` does this itself. Raises InvalidUse without query_prepared, Failure when the gid was
        used before, Unreachable.
        """
        if not self._query_prepared:
            raise InvalidUse(
                "a prepared message needs query_prepared, the url that says whether its local transaction "
                "was committed: dtm.msg(query_prepared=…)",
                gid=self.gid,
            )
        await self._coordinator.operate(Operation.PREPARE, self._request())

    async def abort(self, reason: str = "") -> None:
        """Give a prepared message up. Raises Failure when it is submitted already, Unreachable."""
        await self._coordinator.operate(Operation.ABORT, self._request(reason))

    async def do_and_submit(
        self, connection: ConnectionT, business: Callable[[ConnectionT], Awaitable[T]], *, table: str = ""
    ) -> T:
        """Run `business(connection)` in a local transaction, with the message: both happen, or neither.

        Prepares the message, runs the business behind its barrier (§12) in one local transaction on
        `connection` (what `barrier` takes; for Redis see `sender`), commits, submits. Returns what business
        returned. An exception of business rolls back, gives the message up, and comes through. A crash in
        between is settled by query_prepared. Raises Duplicated when an earlier call with this gid has done
        the business; the message is handed in then too. Raises Failure when the message was given up
        meanwhile, InvalidUse for a connection that is not known, before anything is sent.
        """
        barrier = Barrier(self.sender, connection, table)
        await self.prepare()
        try:
            result = await self._do(barrier, business)
        except _NotFirst as again:
            if again.reason == GIVEN_UP:
                await self._give_up(again)
                raise Failure(
                    f"message {self.gid} was given up before its local transaction: nothing was done",
                    gid=self.gid,
                ) from None
            await self.submit()
            raise Duplicated(
                f"the business of message {self.gid} was done by an earlier call; not done again",
                gid=self.gid,
            ) from None
        except BaseException as error:
            if barrier.rolled_back:
                await self._give_up(error)
            else:
                error.add_note(
                    f"Not known whether the local transaction of message {self.gid} was committed: the "
                    "coordinator will ask query_prepared and act on its answer."
                )
            raise
        await self.submit()
        return result

    async def _do(self, barrier: Barrier[ConnectionT], business: Callable[[ConnectionT], Awaitable[T]]) -> T:
        async with barrier as transaction:
            if not transaction.runs:
                raise _NotFirst(await barrier.own_reason())
            return await business(transaction.connection)

    async def _give_up(self, error: BaseException) -> None:
        """Abort; where that cannot be said now, query_prepared says it later."""
        if not isinstance(error, Exception):
            return  # cancelled: no time for further calls
        try:
            await self.abort(str(error)[:_REASON_CHARACTERS_MAX])
        except DtmError as problem:
            error.add_note(f"Message {self.gid} could not be aborted at once: {problem}")

    def _request(self, reason: str = "") -> TransactionRequest:
        return TransactionRequest(
            gid=self.gid,
            trans_type=TransType.MSG,
            steps=tuple(self._steps),
            payloads=tuple(self._payloads),
            query_prepared=self._query_prepared,
            protocol=self._coordinator.protocol,
            options=self._options,
            custom_data=self._custom_data(),
            rollback_reason=reason,
        )

    def _custom_data(self) -> str:
        # Over gRPC `concurrent` travels nowhere else (§4).
        data: dict[str, Any] = {}
        if self._delay:
            data["delay"] = self._delay
        if self._options.concurrent:
            data["concurrent"] = True
        return orjson.dumps(data).decode() if data else ""


class _NotFirst(Exception):
    """The sender's barrier row was there already."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_REASON_CHARACTERS_MAX: Final = 500
