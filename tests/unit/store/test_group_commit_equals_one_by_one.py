"""Group commit against its naive twin: the same works, at once or one after the other, leave equal rows."""

import asyncio
from collections.abc import Sequence
from datetime import UTC

from hypothesis import given, settings

from coordinator.store.base import Stored
from coordinator.store.open import StoreConfig, open_store
from tests.support.store_works import LOOK_ALIKES, StandingClock, Work, answers, rows, works


async def outcome_of(asked: Sequence[Work], *, together: bool) -> tuple[list[object], list[Stored]]:
    config = StoreConfig(path=":memory:")
    store = await open_store(config, clock=StandingClock(), zone=UTC, wait_seconds=0)
    try:
        return await answers(store, asked, together=together), await rows(store)
    finally:
        await store.close()


@settings(max_examples=60, deadline=None)
@given(works(LOOK_ALIKES))
def test_all_at_once_is_as_one_by_one(asked: list[Work]) -> None:
    together = asyncio.run(outcome_of(asked, together=True))
    one_by_one = asyncio.run(outcome_of(asked, together=False))
    assert together == one_by_one
