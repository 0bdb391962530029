"""Which of the coordinators over one store may start, and take work (PROTOCOL §9, §14)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from coordinator.store.fleet import (
    ALIVE,
    BEAT_SECONDS,
    Node,
    Roll,
    Seen,
    may_write,
    why_no_work,
    why_not_reset,
    why_not_start,
)

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
EAST, WEST = {"TimeZoneOffset": "+08:00"}, {"TimeZoneOffset": "-05:00"}


def node(name: str, token: str = "t", settings: dict[str, str] | None = None) -> Node:
    return Node(name, token, f"{name}-host:36789", "1.0", EAST if settings is None else settings)


def seen(of: Node, *, ago: float = 1, began: float = 100) -> Seen:
    return Seen(of, NOW - timedelta(seconds=began), NOW - timedelta(seconds=ago))


def roll(*rows: Seen) -> Roll:
    return Roll(NOW, rows)


ME = node("me", "mine")


@pytest.mark.parametrize(
    ("others", "refused"),
    [
        ([], False),
        ([seen(node("b"))], False),
        ([seen(node("b", settings=WEST))], True),
        ([seen(node("b", settings=WEST), ago=30)], True),
        ([seen(node("b", settings=WEST), ago=31)], False),
        ([seen(node("b", settings=WEST), ago=-2)], True),
        ([seen(node("b")), seen(node("c", settings=WEST))], True),
        ([seen(node("b", settings={"Another": "x"}))], False),  # of a version that compares other things
        ([seen(node("b", settings={}))], False),
        ([seen(node("me", "earlier"))], False),  # it died and is started again
        ([seen(node("me", "earlier", settings=WEST))], True),
        ([seen(ME)], False),
    ],
)
def test_who_may_start(others: list[Seen], refused: bool) -> None:
    why, what_to_do = why_not_start(ME, roll(*others))
    assert bool(why) is bool(what_to_do) is refused


def test_a_refused_start_names_both_and_says_what_to_do() -> None:
    why, what_to_do = why_not_start(ME, roll(seen(node("b", settings=WEST), ago=4)))
    assert why == (
        "TimeZoneOffset is +08:00 in coordinator me at me-host:36789, but -05:00 in coordinator b at"
        " b-host:36789, which shares its database and was seen 4 s ago"
    )
    assert what_to_do == (
        "set TimeZoneOffset alike in both, or stop b first; one that has died is forgotten after 30 s"
    )


@pytest.mark.parametrize(("ago", "refused"), [(1, True), (30, True), (31, False)])
def test_a_reset_waits_for_those_that_run(ago: float, refused: bool) -> None:
    why, what_to_do = why_not_reset(roll(seen(node("b"), ago=ago)))
    assert bool(why) is bool(what_to_do) is refused
    assert ("b at b-host:36789" in why) is refused


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], ""),
        ([seen(ME)], ""),
        ([seen(node("me", "another"), began=1)], "another coordinator, at me-host:36789, uses the name me"),
        ([seen(node("me", "another"), ago=31, began=40)], ""),  # that one died: the name is free again
        ([seen(ME), seen(node("b"), began=1)], ""),
        ([seen(ME), seen(node("b", settings=WEST), began=1)], "-05:00 in coordinator b at b-host:36789"),
        ([seen(ME), seen(node("b", settings=WEST), began=200)], ""),  # it began before: it gives way
        ([seen(ME), seen(node("b", settings=WEST), began=1, ago=31)], ""),
        ([seen(ME), seen(node("b", "zz", settings=WEST))], "-05:00 in coordinator b"),  # in the same second
        ([seen(ME), seen(node("b", "aa", settings=WEST))], ""),
    ],
)
def test_who_may_take_work(rows: list[Seen], words: str) -> None:
    why = why_no_work(ME, NOW - timedelta(seconds=100), roll(*rows))
    assert words in why
    assert bool(why) is bool(words)


@pytest.mark.parametrize(
    ("rows", "may"),
    [
        ([], True),
        ([seen(ME)], True),
        ([seen(node("me", "another"))], False),
        ([seen(node("me", "another"), ago=31)], True),
        ([seen(node("b"))], True),
    ],
)
def test_who_may_write_the_row_of_a_name(rows: list[Seen], may: bool) -> None:
    assert may_write(ME, roll(*rows)) is may


class Running:
    """One run in the history below: what it would write, what it believes, and until when it is paused."""

    def __init__(self, node: Node, began: datetime) -> None:
        self.node = node
        self.began = began
        self.next_beat = 0
        self.paused_until = 0
        self.works = True


@pytest.mark.parametrize("number", range(200))
def test_no_two_that_must_not_work_together_do_so_for_long(number: int) -> None:
    """Coordinators start, stop, die and are paused; some share a name, some have another zone."""
    random = Random(number)
    table: dict[str, Seen] = {}
    running: list[Running] = []
    together = 0  # seconds for which two have worked that must not
    started = 0
    for second in range(600):
        now = NOW + timedelta(seconds=second)
        if random.random() < 0.05 and len(running) < 4:
            started += 1
            zone = random.choice([EAST, EAST, WEST])
            new = Node(random.choice("abc"), f"{started:03}", f"host-{started}:1", "1", zone)
            if why_not_start(new, Roll(now, [*table.values()])) == ("", ""):
                table[new.name] = Seen(new, now, now)
                running.append(Running(new, now))
        for one in list(running):
            if second < one.paused_until:
                continue
            chance = random.random()
            if chance < 0.01:
                one.paused_until = second + random.randrange(1, 60)
                one.next_beat = one.paused_until  # what was due meanwhile happens at once
            elif chance < 0.02:
                running.remove(one)  # it dies
            elif chance < 0.03:
                running.remove(one)
                if (row := table.get(one.node.name)) is not None and row.node.token == one.node.token:
                    del table[one.node.name]
            elif second >= one.next_beat:
                one.next_beat = second + int(BEAT_SECONDS)
                rows = Roll(now, [*table.values()])
                if may_write(one.node, rows):
                    table[one.node.name] = Seen(one.node, one.began, now)
                one.works = not why_no_work(one.node, one.began, Roll(now, [*table.values()]))
        working = [one.node for one in running if one.works and second >= one.paused_until]
        clash = (
            len({it.name for it in working}) < len(working) or len({*map(str, map(settings, working))}) > 1
        )
        together = together + 1 if clash else 0
        assert together <= BEAT_SECONDS + 1, (second, working)
    assert started > 5


def settings(of: Node) -> object:
    return of.settings


def test_a_name_that_is_free_again_is_taken_back() -> None:
    newer = seen(node("me", "newer"), began=1)
    assert why_no_work(ME, NOW, roll(newer))
    later = Roll(NOW + ALIVE + timedelta(seconds=1), [newer])
    assert may_write(ME, later)
    assert why_no_work(ME, NOW, replace(later, seen=[])) == ""
