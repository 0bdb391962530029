"""What went wrong is told: an attempt for each call without success, none for a success; stuck is what is."""

from collections import defaultdict
from collections.abc import Mapping, Set
from datetime import datetime

from coordinator.attempt import FIRST_KEPT, LAST_KEPT, ROWS_AT_ONCE, SECONDS_A_ROW, notes_of, takes_notes
from coordinator.model import BranchKey, Result, Status
from tests.simulation.invariants.record import Record
from tests.simulation.world import World

Times = dict[BranchKey, dict[int, int]]  # of equal attempts, by their number


def check(world: World, records: Mapping[str, Record]) -> None:
    """Assert it of every transaction."""
    told = _told(world)
    released = _released(world)
    for gid, record in records.items():
        failed: dict[BranchKey, int] = defaultdict(int)
        certain: dict[BranchKey, int] = defaultdict(int)
        for call in record.calls:
            if call.result not in (None, Result.SUCCESS):
                failed[call.key] += 1
                certain[call.key] += call.returned and (gid, call.owner) in released
        if not takes_notes(record.end.ext_data):
            certain = {}  # nothing is remembered from round to round
        for key in failed.keys() | told[gid].keys():
            count = sum(told[gid][key].values())
            assert count <= failed[key], f"{gid}: {count} attempts of {key}, of {failed[key]} calls"
            assert count >= certain.get(key, 0), f"{gid}: {count} attempts of {key}, of {dict(certain)}"
    _is_bounded(world)
    _are_few(world, {gid for gid, record in records.items() if takes_notes(record.end.ext_data)})
    stuck = {str(key[0]) for key in world.rows.own.get("dtm_stuck", {})}
    over = stuck & _ended_by_its_driver(world)  # what a client ends is swept up later
    assert not over, f"{sorted(over)} has ended, and is called stuck"


def _told(world: World) -> dict[str, Times]:
    told: dict[str, Times] = defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
    for row in world.rows.own_history:
        if row.table != "dtm_attempt":
            continue
        it = dict(zip(row.columns, row.values, strict=True))
        assert it["result"] != Result.SUCCESS, f"{it['gid']}: an attempt of a success"
        times = told[it["gid"]][it["branch_id"], it["op"]]
        times[it["number"]] = max(times[it["number"]], it["times"])
    for write in world.rows.history:  # the counts in between
        for key, tried in notes_of(write.after.ext_data).tried.items():
            times = told[write.after.gid][key]
            times[tried.number] = max(times[tried.number], tried.times)
    return told


def _released(world: World) -> set[tuple[str, str]]:
    """The rounds, by gid and owner, that their driver has ended by a write that stands.

    A message that fails while it is prepared may have been ended by its client.
    """
    return {
        (write.after.gid, write.before.owner)
        for write in world.rows.history
        if write.by == "change"
        and write.before is not None
        and write.before.owner
        and not write.after.owner
        and (write.before.status, write.after.status) != (Status.PREPARED, Status.FAILED)
    }


def _ended_by_its_driver(world: World) -> set[str]:
    return {
        write.after.gid
        for write in world.rows.history
        if write.by == "change"
        and write.before is not None
        and write.before.owner
        and write.before.status in (Status.SUBMITTED, Status.ABORTING)
        and write.after.status.is_final
    }


def _is_bounded(world: World) -> None:
    kept: dict[tuple[object, ...], int] = defaultdict(int)
    for key in world.rows.own.get("dtm_attempt", {}):
        kept[key[:3]] += 1
    most = max(kept.values(), default=0)
    assert most <= FIRST_KEPT + LAST_KEPT, f"{most} attempts of one branch are kept"


def _are_few(world: World, gids: Set[str]) -> None:
    """However often it fails, and however the errors differ."""
    ended: dict[tuple[object, ...], list[datetime]] = defaultdict(list)
    for row in world.rows.own_history:
        if row.table == "dtm_attempt":
            it = dict(zip(row.columns, row.values, strict=True))
            if it["gid"] in gids:
                ended[it["gid"], it["branch_id"], it["op"]].append(it["last"])
    for key, times in ended.items():
        seconds = (max(times) - min(times)).total_seconds()
        most = ROWS_AT_ONCE + seconds // SECONDS_A_ROW + 1  # one more for the call that is not made again
        assert len(times) <= most, f"{len(times)} rows of {key} in {seconds:.0f} s"
