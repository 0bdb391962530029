"""Rows of `dtm_node`: who shares the store (coordinator.store.fleet). Times are the database's, in UTC."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import orjson
from sqlalchemy import Connection, Row, delete, insert, inspect, select, update

from coordinator.errors import DtmError, StartError, StoreUnavailable
from coordinator.model import EPOCH
from coordinator.store.faults import STORE_ERRORS, Fault, FileReplaced, fault_of, reason_of
from coordinator.store.fleet import FORGOTTEN, Node, Roll, Seen, may_write, why_not_reset
from coordinator.store.own_tables import DTM_NODE
from coordinator.store.wall_clock import WallClock

T = TypeVar("T")
AskTime = Callable[[Connection], datetime]

_NODE: Final = DTM_NODE.c


class NodesUnusable(DtmError):
    """The table cannot be used, now or later: it is not there, or not ours to write."""


class Transact(Protocol):
    """How a function reaches the database: in a transaction of its own. Raises StoreUnavailable."""

    def __call__(self, function: Callable[[Connection], T]) -> Awaitable[T]:
        """Run it and commit."""
        ...


class NodeTable:
    """What a coordinator asks of the table. ask_time: the database's clock. offsets: see WallClock.

    Raises StoreUnavailable while the database is away or takes no writes, NodesUnusable where the table is no
    good.
    """

    def __init__(self, transact: Transact, ask_time: AskTime, *, offsets: bool) -> None:
        self._transact = transact
        self._ask_time = ask_time
        self._clock = WallClock(UTC, offsets=offsets)

    async def read(self) -> Roll:
        """Every row, and the time."""
        return await self._run(partial(_read, ask_time=self._ask_time, clock=self._clock))

    async def enter(self, node: Node) -> datetime:
        """Write the row of the node's name, whoever's it was; returns the time, which is when it began."""
        return await self._run(partial(_enter, node=node, ask_time=self._ask_time, clock=self._clock))

    async def beat(self, node: Node, began: datetime) -> Roll:
        """Say that the node is alive, if the row of its name may be written, and return every row."""
        return await self._run(
            partial(_beat, node=node, began=began, ask_time=self._ask_time, clock=self._clock)
        )

    async def leave(self, node: Node) -> None:
        """Remove the row of this very run."""
        await self._run(partial(_leave, node=node))

    async def _run(self, function: Callable[[Connection], T]) -> T:
        try:
            return await self._transact(function)
        except StoreUnavailable as error:
            cause = error.__cause__
            if isinstance(cause, FileReplaced):  # no table of it can be used
                raise
            if isinstance(cause, STORE_ERRORS) and fault_of(cause) is Fault.REFUSED:
                raise NodesUnusable(f"the table dtm_node cannot be used: {reason_of(cause)}") from error
            raise


def refuse_reset(connection: Connection, ask_time: AskTime, *, offsets: bool) -> None:
    """Raise StartError while another coordinator uses the tables."""
    if not inspect(connection).has_table(DTM_NODE.name):
        return
    why, what_to_do = why_not_reset(_read(connection, ask_time, WallClock(UTC, offsets=offsets)))
    if why:
        raise StartError(why, what_to_do)


def _read(connection: Connection, ask_time: AskTime, clock: WallClock) -> Roll:
    now = ask_time(connection)
    return Roll(now, [_seen(row, clock) for row in connection.execute(select(DTM_NODE))])


def _enter(connection: Connection, node: Node, ask_time: AskTime, clock: WallClock) -> datetime:
    roll = _read(connection, ask_time, clock)
    _write(connection, node, roll.now, roll, clock)
    return roll.now


def _beat(connection: Connection, node: Node, began: datetime, ask_time: AskTime, clock: WallClock) -> Roll:
    roll = _read(connection, ask_time, clock)
    if may_write(node, roll):
        _write(connection, node, began, roll, clock)
        roll = _read(connection, lambda _: roll.now, clock)
    if roll.has_forgotten():
        connection.execute(delete(DTM_NODE).where(_NODE.last_seen < clock.text(roll.now - FORGOTTEN)))
    return roll


def _write(connection: Connection, node: Node, began: datetime, roll: Roll, clock: WallClock) -> None:
    """Write the node's row, unless somebody else did since the roll was read."""
    values = {
        "token": node.token,
        "address": node.address,
        "version": node.version,
        "settings": orjson.dumps(dict(node.settings)).decode(),
        "started": clock.text(began),
        "last_seen": clock.text(roll.now),
    }
    if (row := roll.named(node.name)) is None:
        connection.execute(insert(DTM_NODE).values(name=node.name, **values))
    else:
        still = update(DTM_NODE).where(_NODE.name == node.name, _NODE.token == row.node.token)
        connection.execute(still.values(values))


def _leave(connection: Connection, node: Node) -> None:
    connection.execute(delete(DTM_NODE).where(_NODE.name == node.name, _NODE.token == node.token))


def _seen(row: Row[Any], clock: WallClock) -> Seen:
    return Seen(
        Node(row.name, row.token, row.address, row.version, _settings(row.settings)),
        clock.time(row.started) or EPOCH,
        clock.time(row.last_seen) or EPOCH,
    )


def _settings(text: str) -> Mapping[str, str]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:  # another program's: nothing to compare
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
