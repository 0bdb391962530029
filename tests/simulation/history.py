"""One seeded history: coordinators crash and come back, until the world heals and all must end."""

import asyncio
from collections.abc import Iterator
from random import Random

from coordinator.model import Options, Step, TransactionRequest
from tests.simulation.invariants import check
from tests.simulation.twin import Faults
from tests.simulation.virtual_loop import run_virtually
from tests.simulation.world import Coordinator, World

_STORM_SECONDS = 120.0
_HEALING_SECONDS = 4000.0  # the longest back-off, several times
_RESTART_SECONDS = 5.0


def run_history(seed: int, *, transactions: int = 12, faults: Faults | None = None) -> World:
    """Run one history to its end and check every promise. The seed decides everything."""
    random = Random(seed)
    drawn = Faults(
        crash_before=random.choice([0, 0.01, 0.03]),
        crash_after=random.choice([0, 0.01, 0.03]),
        unavailable_before=random.choice([0, 0.02]),
        unavailable_after=random.choice([0, 0.02]),
        stall=random.choice([0, 0.01, 0.05]),
        slowest=random.choice([0.01, 0.5]),
    )
    world = World(seed, faults or drawn)
    run_virtually(_live(world, random, list(_requests(random, transactions))))
    world.seen.marks["fenced"] += world.rows.refused
    check(world)
    return world


async def _live(world: World, random: Random, requests: list[TransactionRequest]) -> None:
    places = [_Place(world, name) for name in ("a", "b")]
    keepers = [asyncio.create_task(place.keep(), name=place.name) for place in places]
    for request in requests:
        await asyncio.sleep(random.random() * 2 * _STORM_SECONDS / len(requests) / 2)
        random.choice(places).coordinator.submit(request)
        if random.random() < 0.2:
            random.choice(places).coordinator.submit(request)
    await asyncio.sleep(_STORM_SECONDS)
    for place in places:
        place.healthy = True
    for place in places:
        await place.restart()
    await asyncio.sleep(_HEALING_SECONDS)
    for keeper in keepers:
        keeper.cancel()
    for place in places:
        await place.coordinator.stop()
    await asyncio.gather(*keepers, return_exceptions=True)


class _Place:
    """Where a coordinator lives: starts it, and starts it again some seconds after it died."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.healthy = False
        self._world = world
        self._starts = 0
        self.coordinator = self._start()

    async def keep(self) -> None:
        while True:
            await self.coordinator.died.wait()
            await self.coordinator.stop()
            await asyncio.sleep(_RESTART_SECONDS)
            self.coordinator = self._start()

    async def restart(self) -> None:
        """Replace a healthy coordinator cleanly, so that the world's healing counts for it."""
        if not self.coordinator.died.is_set():
            await self.coordinator.stop()
            self._world.seen.dead.add(self.coordinator.name)
            self.coordinator = self._start()

    def _start(self) -> Coordinator:
        self._starts += 1
        coordinator = Coordinator(self._world, self.name, self._starts, healthy=self.healthy)
        coordinator.run()
        return coordinator


def _requests(random: Random, count: int) -> Iterator[TransactionRequest]:
    for number in range(count):
        steps = random.randint(1, 5)
        kind = random.choice(["sequential", "concurrent", "limited"])
        options = Options(
            wait_result=random.random() < 0.5,
            concurrent=kind == "concurrent",
            request_timeout=random.choice([0, 0, 2, 20]),
            retry_interval=random.choice([0, 1, 30]),
            timeout_to_fail=random.choice([20, 60]) if kind == "limited" else 0,
            retry_limit=random.choice([0, 2]) if kind == "limited" else 0,
        )
        yield TransactionRequest(
            gid=f"{kind}-{number}",
            trans_type="saga",
            steps=tuple(Step("http://branch/do", "http://branch/undo") for _ in range(steps)),
            payloads=(b"{}",) * steps,
            options=options,
        )
