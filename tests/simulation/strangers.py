"""Rows that another program wrote into the same tables: what nobody can drive, and what only looks odd."""

from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

from coordinator.model import Branch, Options, Status, Step, Transaction, TransactionRequest
from tests.simulation.pressure import url
from tests.simulation.rows import START
from tests.simulation.seen import Story
from tests.simulation.world import World

_LONG_AGO = START - timedelta(days=400)
_OWNERS = ("", "Xk2vQ7", "0/", "someone/else", "a/1/1", "zz/top/of/the/world", "%", "ä")
_UNDRIVEABLE: tuple[dict[str, Any], ...] = (
    {"trans_type": "SAGA"},
    {"trans_type": ""},
    {"trans_type": "at", "status": Status.PREPARED},
    {"trans_type": "saga", "custom_data": '{"orders":'},
    {"trans_type": "saga", "custom_data": '{"orders":{"0":[7]}}'},
    {"trans_type": "saga", "custom_data": '{"orders":{"0":[0]}}'},
    {"trans_type": "saga", "custom_data": "[]", "status": Status.ABORTING},
    {"trans_type": "msg", "custom_data": "true"},
    {"trans_type": "msg", "custom_data": '{"delay":"soon"}'},
    {"trans_type": "workflow", "custom_data": "", "status": Status.PREPARED},
    {"trans_type": "workflow", "custom_data": '{"name":"w","data":"*"}', "status": Status.PREPARED},
    {"trans_type": "workflow", "custom_data": '{"name":"w"}', "status": Status.SUBMITTED},
    {"trans_type": "saga", "status": Status.PREPARED},  # it waits for its client, however long
)


def write_strangers(world: World, random: Random) -> None:
    """Write a few of them, all due long ago."""
    for number, given in enumerate(random.sample(_UNDRIVEABLE, random.randint(0, 4))):
        gid = f"stranger-{number}"
        world.strangers.add(gid)
        row = _row(random, gid, given)
        world.rows.add(row, _branches(world, random, row), by="another program")
    if random.random() < 0.3:
        gid = "stranger-unreadable"
        world.strangers.add(gid)
        world.rows.unreadable.add(gid)
        row = _row(random, gid, {"trans_type": "saga"})
        world.rows.add(row, _branches(world, random, row), by="another program")
    if random.random() < 0.5:
        _write_odd(world, random)


def _write_odd(world: World, random: Random) -> None:
    """A saga as a client could have made it, but for what nobody needs to understand."""
    ext_data = random.choice(["", "not json", "[1]", '{"failed_rounds":"many","theirs":1}'])
    row = replace(_row(random, "saga-stranger", {"trans_type": "saga"}), ext_data=ext_data)
    branches = _branches(world, random, row)
    steps = tuple(Step(do.url, undo.url) for undo, do in zip(branches[::2], branches[1::2], strict=True))
    request = TransactionRequest(row.gid, "saga", steps=steps, payloads=(b"{}",) * len(steps))
    world.stories[row.gid] = Story(request)
    world.rows.add(row, branches, by="another program")


def _row(random: Random, gid: str, given: dict[str, Any]) -> Transaction:
    row = Transaction(
        gid=gid,
        trans_type="",
        status=Status.SUBMITTED,
        query_prepared="http://one/ask",
        options=Options(request_timeout=random.choice([0, 20])),
        create_time=_LONG_AGO,
        update_time=_LONG_AGO,
        next_cron_interval=random.choice([10, 40]),
        next_cron_time=random.choice([_LONG_AGO, START]),
        owner=random.choice(_OWNERS),
    )
    return replace(row, **given)


def _branches(world: World, random: Random, row: Transaction) -> tuple[Branch, ...]:
    def branch(op: str) -> Branch:
        return Branch(row.gid, "01", op, url(random, world.pressure.endpoints, op), b"{}")

    return (branch("compensate"), branch("action"))
