"""What is held is called by nobody, once every coordinator can know of it."""

from typing import Final

from tests.simulation.world import World

KNOWN_SECONDS: Final = 5.0


def check(world: World) -> None:
    """Assert it of every call."""
    for call in world.seen.calls:
        for held in world.held:
            seconds = call.started - held.begins
            is_held = seconds > KNOWN_SECONDS and call.started < held.ends
            assert not (is_held and held.endpoint == call.endpoint), (
                f"{call.gid}: {call.coordinator} called {call.endpoint} {seconds:.1f} s after it was held"
            )
