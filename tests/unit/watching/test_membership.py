"""A coordinator among those over its store: joining, the beats, and a table that cannot be had."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from coordinator.errors import StartError, StoreUnavailable
from coordinator.store.fleet import Node, Roll, Seen, may_write
from coordinator.store.nodes import NodesUnusable
from coordinator.watching.membership import Alone, Membership

START = datetime(2026, 11, 28, tzinfo=UTC)
ZONE = {"TimeZoneOffset": "+08:00"}
ME = Node("me", "mine", "here:1", "1", ZONE)
OTHER = Node("other", "theirs", "there:1", "1", ZONE)
OF_ANOTHER_ZONE = replace(OTHER, settings={"TimeZoneOffset": "+00:00"})


class Table:
    """The table in memory, with what a test lets go wrong. `meanwhile` joins while `enter` is on its way."""

    def __init__(self, *there: Node) -> None:
        self.now = START
        self.rows = {node.name: Seen(node, START, START) for node in there}
        self.error: Exception | None = None
        self.meanwhile: Node | None = None

    async def read(self) -> Roll:
        self._fail()
        return Roll(self.now, [*self.rows.values()])

    async def enter(self, node: Node) -> datetime:
        self._fail()
        self.rows[node.name] = Seen(node, self.now, self.now)
        if self.meanwhile is not None:
            self.rows[self.meanwhile.name] = Seen(self.meanwhile, self.now, self.now)
        return self.now

    async def beat(self, node: Node, began: datetime) -> Roll:
        roll = await self.read()
        if may_write(node, roll):
            self.rows[node.name] = Seen(node, began, self.now)
        return await self.read()

    async def leave(self, node: Node) -> None:
        self._fail()
        if (row := self.rows.get(node.name)) is not None and row.node.token == node.token:
            del self.rows[node.name]

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error


class Bench:
    def __init__(self, *there: Node) -> None:
        self.table = Table(*there)
        self.written = 0
        self.membership = Membership(self.table, ME, wrote=self._count)

    def _count(self) -> None:
        self.written += 1

    async def beat(self, seconds: float = 5) -> None:
        self.table.now += timedelta(seconds=seconds)
        await self.membership.beat()

    @property
    def state(self) -> tuple[bool, bool, bool]:
        """Whether it may work, its writes stand, and it is compared with the others."""
        it = self.membership
        return not it.why_no_work, not it.trouble, not it.remark


WELL = (True, True, True)


async def test_it_joins_beats_and_leaves() -> None:
    bench = Bench(OTHER)
    await bench.membership.join()
    await bench.beat()
    assert bench.state == WELL
    assert bench.table.rows["me"] == Seen(ME, START, START + timedelta(seconds=5))
    assert bench.written == 2
    await bench.membership.leave()
    assert [*bench.table.rows] == ["other"]


async def test_one_of_another_zone_is_kept_out_and_leaves_the_other_alone() -> None:
    bench = Bench(OF_ANOTHER_ZONE)
    with pytest.raises(StartError, match="other at there:1"):
        await bench.membership.join()
    assert [*bench.table.rows] == ["other"]


async def test_two_zones_that_start_at_the_same_moment_do_not_both_stay() -> None:
    bench = Bench()
    bench.table.meanwhile = OF_ANOTHER_ZONE
    with pytest.raises(StartError, match="other at there:1"):
        await bench.membership.join()


async def test_the_older_of_two_names_stops_working_and_leaves_the_newers_row() -> None:
    bench = Bench()
    await bench.membership.join()
    newer = replace(ME, token="newer", address="there:1")
    bench.table.rows["me"] = Seen(newer, START + timedelta(seconds=1), START + timedelta(seconds=5))
    await bench.beat()
    assert "another coordinator, at there:1, uses the name me" in bench.membership.why_no_work
    await bench.membership.leave()
    assert bench.table.rows["me"].node is newer
    await bench.beat(60)  # it is not seen any more
    assert bench.state == WELL
    assert bench.table.rows["me"].node is ME


async def test_a_store_that_takes_no_writes_is_told_and_survived() -> None:
    bench = Bench()
    await bench.membership.join()
    bench.table.error = StoreUnavailable("read-only")
    await bench.beat()
    assert (bench.membership.trouble, bench.state) == ("read-only", (True, False, True))
    await bench.membership.leave()  # no error: its row is forgotten in time
    bench.table.error = None
    await bench.beat()
    assert bench.state == WELL


async def test_one_whose_first_write_failed_joins_later() -> None:
    class FailsToEnter(Table):
        async def enter(self, node: Node) -> datetime:
            if self.now == START:
                raise StoreUnavailable("read-only")
            return await super().enter(node)

    bench = Bench()
    table = FailsToEnter()
    bench.membership = Membership(table, ME, wrote=lambda: None)
    await bench.membership.join()
    assert bench.state == (True, False, True)
    table.now += timedelta(seconds=5)
    await bench.membership.beat()
    assert bench.state == WELL
    assert [*table.rows] == ["me"]


async def test_a_table_that_cannot_be_used_is_a_remark() -> None:
    bench = Bench(OF_ANOTHER_ZONE)
    bench.table.error = NodesUnusable("permission denied for table dtm_node")
    await bench.membership.join()
    await bench.beat()
    assert bench.state == (True, True, False)
    assert "permission denied" in bench.membership.remark


async def test_without_the_table_it_says_how_to_make_it() -> None:
    alone = Alone("CREATE TABLE dtm_node (…);")
    await alone.join()
    await alone.beat()
    await alone.leave()
    assert (alone.why_no_work, alone.trouble) == ("", "")
    assert alone.remark.endswith(
        "run `dtm migrate` as a user who may make tables, or: CREATE TABLE dtm_node (…);"
    )


async def test_everybody_is_known_as_the_last_beat_found_them() -> None:
    bench = Bench(OTHER)
    assert bench.membership.roll is None
    await bench.beat()
    assert bench.membership.roll is not None
    assert {it.node.name for it in bench.membership.roll.seen} == {"me", "other"}
    bench.table.error = StoreUnavailable("away")
    await bench.beat()
    assert bench.membership.roll is None
