"""`--fill`, `--due`, `--delayed`: what a table full of rows costs, and how soon what is due is done."""

import time
from collections.abc import Callable
from statistics import median
from typing import Final

from bench.fill import plant
from bench.scene import Scene, scene

Tell = Callable[[str], None]
Row = tuple[str, str]

_UTC: Final = {"TimeZoneOffset": "+0"}
_AT_A_TIME: Final = 32
_MESSAGE: Final = "'msg'"
_TURNS: Final = 3
_LOOK_SECONDS: Final = 0.25
_AHEAD_SECONDS: Final = 15  # from the planting to the first that is due
_BURST: Final = 500  # messages that are due in one second
_BURSTS: Final = 5
_BRANCHES: Final = """
INSERT INTO trans_branch_op (gid, url, bin_data, branch_id, op, status, create_time, update_time)
SELECT CONCAT('{name}-', seq), 'http://{branch}/TransIn', '{{}}', '01', 'action', 'prepared',
  UTC_TIMESTAMP(), UTC_TIMESTAMP() FROM seq_1_to_{count}"""
_LATE: Final = (
    "SELECT COUNT(*), COALESCE(MAX(TIMESTAMPDIFF(SECOND, create_time, finish_time)), 0)"
    " FROM trans_global WHERE gid LIKE '{name}-%' AND status = 'succeed'"
)


def filled(count: int, seconds: int, tell: Tell) -> list[Row]:
    """The rate of sagas over an empty store and over one of so many that have ended, taking turns."""
    rates: dict[str, list[float]] = {"empty": [], "full": []}
    with scene(_UTC) as empty, scene(_UTC) as full:
        _plant_ended(full, count)
        tell(f"planted {count:,} that have ended")
        for each in (empty, full):
            each.load(at_a_time=_AT_A_TIME, seconds=1)
        for _ in range(_TURNS):
            for name, each in (("empty", empty), ("full", full)):
                rates[name].append(each.load(at_a_time=_AT_A_TIME, seconds=seconds).rate)
                tell(f"{name}: {rates[name][-1]:,.0f} sagas a second")
        began = time.monotonic()
        full.coordinator.stop()
        full.coordinator.start()
        start = time.monotonic() - began
    share = median(full / empty for empty, full in zip(rates["empty"], rates["full"], strict=True))
    return [
        (f"sagas a second, {_AT_A_TIME} at a time, store empty", f"{median(rates['empty']):,.0f}"),
        (f"the same over {count:,} that have ended", f"{median(rates['full']):,.0f}"),
        ("median of the neighbouring ratios", f"{share:.0%}"),
        ("stopped and ready again in", f"{start:.1f} s"),
    ]


def due(count: int, tell: Tell) -> list[Row]:
    """So many messages that are due at once, and those of clients meanwhile."""
    with scene(_UTC) as it:
        alone = it.load(at_a_time=4, seconds=3)
        it.coordinator.stop()
        now = "UTC_TIMESTAMP()"
        _plant_calls(it, "due", count)
        plant(it.database, "due", count, status="'submitted'", then=now, due=now, kind=_MESSAGE)
        tell(f"planted {count:,} that are due")
        it.coordinator.start()
        began, rss = time.monotonic(), 0.0
        beside = it.load(at_a_time=4, seconds=5)
        while left := it.unfinished():
            rss = max(rss, it.held().rss_mb)
            if time.monotonic() - began > 600:
                break
            time.sleep(_LOOK_SECONDS)
        took = time.monotonic() - began
    return [
        (f"{count:,} due at once: done a second", f"{(count - left) / took:,.0f}"),
        ("left after ten minutes", f"{left:,}"),
        ("resident memory, at the most", f"{rss:.0f} MB"),
        ("p99 of others, 4 at a time, before", f"{alone.p99_ms:.0f} ms"),
        ("p99 of others meanwhile", f"{beside.p99_ms:.0f} ms"),
    ]


def delayed(count: int, tell: Tell) -> list[Row]:
    """So many messages that wait for a day, and some that are due in a few seconds."""
    with scene(_UTC) as it:
        now, day = "UTC_TIMESTAMP()", "UTC_TIMESTAMP() + INTERVAL 1 DAY"
        plant(it.database, "late", count, status="'submitted'", then=now, due=day)
        tell(f"planted {count:,} that are delayed")
        began, before = time.monotonic(), it.held().cpu
        database = it.database_cpu()
        time.sleep(30)
        seconds = time.monotonic() - began
        idle, of_database = (it.held().cpu - before) / seconds, (it.database_cpu() - database) / seconds
        _plant_calls(it, "soon", _BURST * _BURSTS)
        then = f"UTC_TIMESTAMP() + INTERVAL {_AHEAD_SECONDS} + (seq % {_BURSTS}) SECOND"
        soon = _BURST * _BURSTS
        plant(it.database, "soon", soon, status="'submitted'", then=then, due=then, kind=_MESSAGE)
        until = time.monotonic() + _AHEAD_SECONDS + 60
        done, late = 0, 0
        while done < _BURST * _BURSTS and time.monotonic() < until:
            [counted] = it.database.execute(_LATE.format(name="soon"))
            done, late = (int(str(value)) for value in counted)
            time.sleep(_LOOK_SECONDS)
    return [
        (f"idle with {count:,} delayed: coordinator, share of a core", f"{idle:.2%}"),
        ("idle: database, share of a core", f"{of_database:.2%}"),
        (f"of {_BURST * _BURSTS:,} due in {_BURSTS} seconds done", f"{done:,}"),
        ("the latest, after its second", f"{late} s"),
    ]


def _plant_ended(it: Scene, count: int) -> None:
    then = "UTC_TIMESTAMP() - INTERVAL FLOOR(seq % 86400) SECOND"
    plant(it.database, "done", count, status="'succeed'", then=then, due=then)
    it.database.execute("ANALYZE TABLE trans_global")


def _plant_calls(it: Scene, name: str, count: int) -> None:
    """The branches before their transactions, which are taken up as soon as they are there."""
    it.database.execute(_BRANCHES.format(name=name, branch=it.branch, count=count))
