"""A coordinator inside a test, time moved by hand, scripted branches. Imports client, api and below.

pytest_plugins = ["coordinator.testing.plugin"]  # in conftest.py

async def test_a_full_account_takes_nothing(dtm_kit: Kit) -> None:
    dtm_kit.branches.answer("/deposit", Says.FAILURE)
    …
    await dtm_kit.advance(35)
"""

from coordinator.client.extras import brought_by

with brought_by("testing"):
    from coordinator.testing._branches import Call, FakeBranches, Says, Scripted
    from coordinator.testing._kit import Kit
    from coordinator.testing._replay import Replayed, replay
    from coordinator.testing.inside import TravellingClock

__all__ = ["Call", "FakeBranches", "Kit", "Replayed", "Says", "Scripted", "TravellingClock", "replay"]
