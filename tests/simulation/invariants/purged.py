"""What is purged has ended, as long ago as it is kept, and leaves nothing behind."""

from typing import Final

from tests.simulation.world import World

COLUMN_SECONDS: Final = 1.0  # times are stored in whole seconds


def check(world: World) -> None:
    """Assert it of every transaction that is gone."""
    rows = world.rows
    for gid, gone in rows.gone.items():
        assert gone.transaction.status.is_final, f"{gid}: purged while it was {gone.transaction.status}"
        kept = gone.at - gone.ended_at
        assert kept >= world.kept_seconds - COLUMN_SECONDS, f"{gid}: purged {kept:.0f} s after its end"
        assert gid not in rows.transactions, f"{gid}: stored again after it was purged"
        assert gid not in rows.branches, f"{gid}: branches were left of it"
        left = [table for table, keys in rows.own.items() if any(key[0] == gid for key in keys)]
        assert not left, f"{gid}: rows were left of it in {left}"
