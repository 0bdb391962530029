"""This coordinator among those that share its store: may it start, may it take work, do its writes stand?"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

from coordinator.errors import DtmError, StartError, StoreUnavailable
from coordinator.store.fleet import Node, Roll, why_no_work, why_not_start
from coordinator.store.nodes import NodesUnusable
from coordinator.store.tables import how_to_make
from coordinator.telemetry.log import log

_BEAT_TIMEOUT_SECONDS: Final = 10.0
_LEAVE_TIMEOUT_SECONDS: Final = 2.0


class Nodes(Protocol):
    """The table of coordinators. Raises StoreUnavailable, NodesUnusable."""

    async def read(self) -> Roll:
        """Every row, and the database's time."""
        ...

    async def enter(self, node: Node) -> datetime:
        """Write the row of the node's name; returns when it began."""
        ...

    async def beat(self, node: Node, began: datetime) -> Roll:
        """Write that it is alive, and return every row."""
        ...

    async def leave(self, node: Node) -> None:
        """Remove the row of this very run."""
        ...


class Membership:
    """Joins, says that it is alive, leaves. A table that cannot be used is a remark, never an end.

    wrote: told each time a write stood. roll: everybody as the last beat found them; None where it failed.
    """

    def __init__(self, nodes: Nodes, me: Node, *, wrote: Callable[[], None]) -> None:
        self._nodes = nodes
        self._me = me
        self._wrote = wrote
        self._began: datetime | None = None
        self.roll: Roll | None = None
        self.why_no_work = ""  # why this coordinator must take no more work; empty when it may
        self.trouble = ""  # why the store took no write at the last beat; empty when it did
        self.remark = ""  # why coordinators are not compared; empty when they are

    async def join(self) -> None:
        """Begin, unless one that runs has other settings. Raises StartError, StoreUnavailable."""
        try:
            self._compare(await self._nodes.read())
            await self._enter()
            self._compare(await self._nodes.read())  # two that start at once: both see both rows
        except NodesUnusable as error:
            self._cannot_compare(error)

    async def beat(self) -> None:
        """Write the row anew, and look at the others'."""
        roll = None
        try:
            async with asyncio.timeout(_BEAT_TIMEOUT_SECONDS):
                if self._began is None:
                    self._began = await self._nodes.enter(self._me)
                roll = await self._nodes.beat(self._me, self._began)
        except NodesUnusable as error:
            self._cannot_compare(error)
        except (StoreUnavailable, TimeoutError) as error:
            self._not_written(error)
        else:
            self._written()
            self._judge(why_no_work(self._me, self._began, roll))
        self.roll = roll

    async def leave(self) -> None:
        """Remove the row: this coordinator has stopped."""
        try:
            async with asyncio.timeout(_LEAVE_TIMEOUT_SECONDS):
                await self._nodes.leave(self._me)
        except (DtmError, TimeoutError) as error:
            log.debug("the row in dtm_node stays until it is forgotten: {}", error)

    def _compare(self, roll: Roll) -> None:
        why, what_to_do = why_not_start(self._me, roll)
        if why:
            raise StartError(why, what_to_do)
        before = roll.named(self._me.name)
        if before in roll.alive() and before is not None and before.node.token != self._me.token:
            log.info(
                "the name {} was in use until now, by {}: one that still runs takes no more work",
                self._me.name,
                before.node.address,
            )

    async def _enter(self) -> None:
        try:
            async with asyncio.timeout(_BEAT_TIMEOUT_SECONDS):
                self._began = await self._nodes.enter(self._me)
        except (StoreUnavailable, TimeoutError) as error:
            self._not_written(error)
        else:
            self._written()

    def _written(self) -> None:
        self.trouble = self.remark = ""
        self._wrote()

    def _not_written(self, error: StoreUnavailable | TimeoutError) -> None:
        if not self.trouble:
            log.warning("the row of this coordinator was not written, trying again: {}", error)
        self.trouble = str(error) or "it did not answer in time"

    def _cannot_compare(self, error: NodesUnusable) -> None:
        if not self.remark:
            log.warning("settings are not compared with those of other coordinators: {}", error)
        self.trouble, self.remark = "", f"{error}; let the user read and write dtm_node"

    def _judge(self, why: str) -> None:
        if why and not self.why_no_work:
            log.error("this coordinator takes no more work: {}", why)
        elif self.why_no_work and not why:
            log.info("this coordinator takes work again")
        self.why_no_work = why


class Alone:
    """Instead of a Membership where there is no table; its methods do nothing. sql: makes the table."""

    roll: Roll | None = None

    def __init__(self, sql: str) -> None:
        self.why_no_work = self.trouble = ""
        self.remark = (
            f"settings are not compared with those of other coordinators; to have it, run {how_to_make(sql)}"
        )

    async def join(self) -> None:
        """Nothing."""

    async def beat(self) -> None:
        """Nothing."""

    async def leave(self) -> None:
        """Nothing."""
