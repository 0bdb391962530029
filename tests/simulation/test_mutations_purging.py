"""What the invariant of purged rows notices when it is broken on purpose."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from coordinator.engine.purging import Purger
from tests.simulation.history import ALL_TYPES
from tests.simulation.noticed import assert_noticed
from tests.simulation.rows import Rows
from tests.simulation.twin import TwinStore

Patch = pytest.MonkeyPatch


def what_is_unfinished_is_purged(patch: Patch) -> None:
    def is_old(store: TwinStore, gid: str, before: datetime) -> bool:
        row = store.rows.transactions.get(gid)
        return row is not None and row.update_time < before

    patch.setattr(TwinStore, "_is_old", is_old)


def what_has_just_ended_is_purged(patch: Patch) -> None:
    made = Purger.__init__

    def at_once(purger: Purger, *arguments: object, **named: object) -> None:
        made(purger, *arguments, **{**named, "kept": timedelta(0)})  # type: ignore[arg-type]

    patch.setattr(Purger, "__init__", at_once)


def a_purge_leaves_the_branches(patch: Patch) -> None:
    purge = Rows.purge

    def leave(rows: Rows, gid: str) -> int:
        branches = rows.branches[gid]
        count = purge(rows, gid)
        rows.branches[gid] = branches
        return count

    patch.setattr(Rows, "purge", leave)


@pytest.mark.parametrize(
    ("broken", "noticed"),
    [
        (what_is_unfinished_is_purged, "purged while it was"),
        (what_has_just_ended_is_purged, "s after its end|acknowledged|stored again"),
        (a_purge_leaves_the_branches, "branches were left"),
    ],
)
@pytest.mark.usefixtures("quiet")
def test_a_broken_promise_is_noticed(
    monkeypatch: Patch, broken: Callable[[Patch], None], noticed: str
) -> None:
    broken(monkeypatch)
    assert_noticed(noticed, trans_types=ALL_TYPES)
