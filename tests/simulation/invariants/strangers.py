"""What another program wrote and nobody can drive: it is left as it is, and never called."""

from dataclasses import replace

from tests.simulation.world import World


def check(world: World) -> None:
    """Its owner and when it is looked at again may change, nothing else."""
    called = {call.gid for call in world.seen.calls} & world.strangers
    assert not called, f"{sorted(called)}: called, though nobody can drive them"
    for write in world.rows.history:
        if write.after.gid in world.strangers and write.before is not None:
            kept = {name: getattr(write.before, name) for name in ("owner", "next_cron_time", "update_time")}
            assert replace(write.after, **kept) == write.before, f"{write.after.gid}: changed by {write.by}"
