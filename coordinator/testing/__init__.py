"""A kit for testing one's own transactions: a coordinator in the test's process, and scripted branches.

pytest_plugins = ["coordinator.testing.plugin"]  # in conftest.py

async def test_a_full_account_takes_nothing(dtm_kit):
    dtm_kit.branches.answer("/deposit", Says.FAILURE)
    ...
"""

from coordinator.testing._branches import Call, FakeBranches, Says, Scripted

__all__ = ["Call", "FakeBranches", "Says", "Scripted"]
