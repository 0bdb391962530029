"""The two-phase message: calls that surely follow a committed local transaction (PROTOCOL §8)."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar, overload

import orjson

from coordinator.client.barriers.redis_commands import RedisClient, RedisCommands
from coordinator.client.barriers.rules import SENDER_BRANCH
from coordinator.client.errors import InvalidUse
from coordinator.client.patterns.msg_sender import do_and_submit, sender_of
from coordinator.client.transport.base import Operation
from coordinator.client.transport.checks import (
    check_headers,
    check_not_sent,
    check_room_for_step,
    check_text,
    check_topic,
    check_url,
)
from coordinator.client.transport.context import BranchContext
from coordinator.client.transport.coordinator import Coordinator
from coordinator.client.transport.payload import Payload, encode_step
from coordinator.client.transport.submitted import Submitted, submitted
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
        self._is_sent = False

    @property
    def sender(self) -> BranchContext:
        """The branch that the sender's own transaction is (§12), for a barrier that is used by hand.

        For a script of one's own in Redis: submit only what has run; of everything else
        `redis_query_prepared` decides.

        Example:
            await msg.prepare()
            barrier = RedisBarrier(msg.sender, redis)
            await barrier.call(lua, keys, arguments)
            if barrier.outcome is Outcome.RUN:
                await msg.submit()
        """
        return BranchContext(self.gid, TransType.MSG, SENDER_BRANCH, Op.MSG)

    def add(self, url: str, payload: Payload = None, *, headers: Mapping[str, str] | None = None) -> "Msg":
        """Append a call and return the message. url: as §10 writes it, or `topic://name`.

        headers: sent with this call alone, as `Saga.add` says. Raises InvalidUse for a url that cannot be
        called, a payload that cannot be sent, and when the message has been prepared or submitted.
        """
        number, protocol = len(self._steps), self._coordinator.protocol
        check_not_sent(self._is_sent, "message", "call", self.gid)
        check_room_for_step(number, self.gid)
        if str(url).startswith(TOPIC_PREFIX):
            check_topic(url.removeprefix(TOPIC_PREFIX))
        else:
            check_url("url", url, protocol)
        if headers:
            check_headers("headers", headers, protocol)
        encoded = encode_step(self._coordinator.encode, payload, number, url, self.gid)
        self._steps.append(Step(action=url, headers=dict(headers) if headers else None))
        self._payloads.append(encoded)
        return self

    def add_topic(
        self, topic: str, payload: Payload = None, *, headers: Mapping[str, str] | None = None
    ) -> "Msg":
        """Append a call of every subscriber that the topic has at submit; return the message."""
        check_topic(topic)
        return self.add(TOPIC_PREFIX + topic, payload, headers=headers)

    async def submit(self) -> Submitted:
        """Hand the message in: from now on it is delivered, however long that takes. Safe to repeat.

        Without wait_result: returns once it is stored. With it: returns when every call has succeeded, raises
        Ongoing when that takes longer (or is delayed). Raises Failure when it was given up before (its
        query_prepared said no), Unreachable, and DtmError, for instance for an unknown topic.
        """
        self._is_sent = True
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
        self._is_sent = True
        await self._coordinator.operate(Operation.PREPARE, self._request())

    async def abort(self, reason: str = "") -> None:
        """Give a prepared message up. Raises Failure when it is submitted already, Unreachable."""
        check_text("reason", reason)
        await self._coordinator.operate(Operation.ABORT, self._request(reason))

    @overload
    async def do_and_submit(
        self, connection: RedisClient, business: Callable[[RedisCommands], Awaitable[T]]
    ) -> T: ...

    @overload
    async def do_and_submit(
        self, connection: ConnectionT, business: Callable[[ConnectionT], Awaitable[T]], *, table: str = ""
    ) -> T: ...

    async def do_and_submit(
        self, connection: Any, business: Callable[[Any], Awaitable[T]], *, table: str = ""
    ) -> T:
        """Run `business(connection)` in a local transaction, with the message: both happen, or neither (§8).

        Prepares the message, runs the business behind its barrier (§12) in one local transaction on
        `connection` (what `barrier` takes), commits, submits. With a client of redis.asyncio, business gets
        `RedisCommands`; what it queues is run as one script after it. Returns what business returned. An
        exception of business, and a check in Redis that says no (Failure), undo it, give the message up, and
        come through. A crash in between is settled by query_prepared. Raises Duplicated when an earlier call
        with this gid has done the business; the message is handed in then too. Raises Failure when the
        message was given up meanwhile, InvalidUse for a connection that is not known, before anything is
        sent, BarrierError.

        Example:
            async def take_one(commands: RedisCommands) -> None:
                commands.adjust("stock", -1)  # Failure rather than below zero

            await msg.do_and_submit(redis, take_one)
        """
        return await do_and_submit(self, sender_of(self.sender, connection, table), business)

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
