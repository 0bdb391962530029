"""One seeded history: coordinators crash and come back, until the world heals and all must end."""

import asyncio
from collections.abc import Callable
from random import Random

import orjson

from coordinator.model import Options, Step, TransactionRequest
from coordinator.model import Place as OfResult
from tests.simulation.clients import MANY_STEPS, go_on, hold, operate, start_client
from tests.simulation.invariants import check
from tests.simulation.pressure import PAYLOADS, Endpoint, draw_pressure, url
from tests.simulation.rows import virtual_time
from tests.simulation.seen import Story
from tests.simulation.strangers import write_strangers
from tests.simulation.twin import Faults
from tests.simulation.virtual_loop import run_virtually
from tests.simulation.world import Place, World

ALL_TYPES = "saga saga saga tcc tcc xa msg msg workflow workflow"
Endpoints = dict[str, Endpoint]
_STORM_SECONDS = 120.0
_KEPT_SECONDS = 200.0  # longer than any client repeats what it asked
_HEALING_SECONDS = 900.0  # the longest back-off, three times


def run_history(seed: int, *, transactions: int = 14, trans_types: str = ALL_TYPES) -> World:
    """Run one history to its end and check every promise. The seed decides everything.

    trans_types: of the transactions in it, by their frequency.
    """
    random = Random(seed)
    drawn = Faults(
        crash_before=random.choice([0, 0.01, 0.03]),
        crash_after=random.choice([0, 0.01, 0.03]),
        unavailable_before=random.choice([0, 0.02]),
        unavailable_after=random.choice([0, 0.02]),
        unavailable_reads=random.choice([0, 0.02, 0.1]),
        stall=random.choice([0, 0.01, 0.05]),
        slowest=random.choice([0.01, 0.5]),
    )
    pressure = draw_pressure(random, _STORM_SECONDS)
    world = World(seed, drawn, pressure)
    types = [random.choice(trans_types.split()) for _ in range(transactions)]
    stories = [
        _MAKERS[trans_type](random, pressure.endpoints, trans_type, str(number))
        for number, trans_type in enumerate(types)
    ]
    run_virtually(_live(world, random, stories))
    _mark(world)
    check(world)
    return world


def _mark(world: World) -> None:
    marks = world.seen.marks
    marks["fenced"] += world.rows.refused
    marks["purged"] += len(world.rows.gone)
    for write in world.rows.history:
        marks["deferred"] += write.by == "defer" and write.after.gid not in world.strangers
        if write.by == "claim" and write.before is not None:
            marks["claimed before it was due"] += write.before.next_cron_time > virtual_time(write.at)
    marks["stranger left alone"] += len(world.strangers)


async def _live(world: World, random: Random, stories: list[Story]) -> None:
    world.go_on = lambda gid, healthy: go_on(world, gid, healthy=healthy)
    world.places = [Place(world, *it) for it in zip(("a", "b"), world.pressure.figures, strict=True)]
    keepers = [asyncio.create_task(place.keep(), name=place.name) for place in world.places]
    operator = None
    if random.random() < 0.5:
        operator = asyncio.create_task(operate(world, Random(f"{world.seed}/operator")))
    chance, holder = Random(f"{world.seed}/holder"), None
    if chance.random() < 0.5:
        holder = asyncio.create_task(hold(world, chance))
    world.kept_seconds = Random(f"{world.seed}/purge").choice([0, _KEPT_SECONDS])
    write_strangers(world, Random(f"{world.seed}/strangers"))
    for story in stories:
        await asyncio.sleep(random.random() * world.pressure.arrival_seconds / len(stories))
        start_client(world, story)
    await asyncio.sleep(_STORM_SECONDS)
    for task in filter(None, (operator, holder)):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    restarts = random.random() < 0.5
    for place in world.places:
        await place.heal(restarts=restarts)
    world.healed_at = asyncio.get_running_loop().time()
    await asyncio.sleep(_HEALING_SECONDS)
    for place in world.places:
        place.coordinator.watch.is_over(place.coordinator.tools.admission)
        assert not place.coordinator.recovery.problem, place.coordinator.recovery.problem
    for keeper in keepers:
        keeper.cancel()
    for place in world.places:
        await place.coordinator.stop()
    assert not world.clients, "a client that never came to an end"
    await asyncio.gather(*keepers, return_exceptions=True)


def _saga(random: Random, endpoints: Endpoints, trans_type: str, name: str) -> Story:
    kind = random.choice(["sequential", "concurrent", "limited"])
    steps = random.randint(1, 5)
    options = Options(
        wait_result=random.random() < 0.5,
        concurrent=kind == "concurrent",
        request_timeout=random.choice([0, 0, 2, 20, 60]),
        retry_interval=random.choice([0, 1, 30]),
        timeout_to_fail=random.choice([20, 60]) if kind == "limited" else 0,
        retry_limit=random.choice([0, 2]) if kind == "limited" else 0,
    )
    request = TransactionRequest(
        gid=f"{kind}-{name}",
        trans_type=trans_type,
        steps=tuple(Step(url(random, endpoints, "do"), url(random, endpoints, "undo")) for _ in range(steps)),
        payloads=(b"x" * random.choice(PAYLOADS),) * steps,
        options=options,
    )
    return Story(request)


def _saga_with_results(random: Random, endpoints: Endpoints, trans_type: str, name: str) -> Story:
    """Steps that keep what they answer, and use what those before them have answered."""
    concurrent = random.random() < 0.5
    count = random.randint(2, 5)
    orders = {
        step: [earlier for earlier in range(step) if random.random() < 0.5]
        if concurrent
        else list(range(step))
        for step in range(count)
    }
    keeps = [random.random() < 0.7 for _ in range(count)]
    steps, payloads = [], []
    for step, before in orders.items():
        used = [earlier for earlier in before if keeps[earlier] and random.random() < 0.7]
        undone = [*used, *([step] if keeps[step] else [])]
        paths = ("$", "$.by", "$.got.n")
        steps.append(
            Step(
                url(random, endpoints, "do"),
                url(random, endpoints, "undo"),
                keep_result=keeps[step],
                from_results=tuple(OfResult(f"$.of[{it}]", it, random.choice(paths)) for it in used),
                compensate_payload=b'{"of":[0,0,0,0,0]}',
                compensate_from_results=tuple(
                    OfResult(f"$.of[{it}]", it, random.choice(paths)) for it in undone
                ),
            )
        )
        payloads.append(b'{"n":%d,"of":[0,0,0,0,0]}' % step)
    return Story(
        TransactionRequest(
            gid=f"results-{name}",
            trans_type="saga",
            steps=tuple(steps),
            payloads=tuple(payloads),
            options=Options(
                wait_result=random.random() < 0.5,
                request_timeout=random.choice([0, 2, 20]),
                concurrent=concurrent,
            ),
            custom_data=orjson.dumps(
                {"concurrent": concurrent, "orders": {str(it): before for it, before in orders.items()}}
            ).decode(),
        )
    )


def _registering(random: Random, _: Endpoints, trans_type: str, name: str) -> Story:
    options = Options(
        wait_result=random.random() < 0.5,
        request_timeout=random.choice([0, 0, 20]),
        timeout_to_fail=random.choice([0, 4, 4, 12]),
    )
    request = TransactionRequest(f"{trans_type}-{name}", trans_type, options=options)
    steps = random.choice([0, 1, 2, 3, 4, MANY_STEPS])
    return Story(request, steps=steps, payload=b"x" * random.choice(PAYLOADS))


def _message(random: Random, endpoints: Endpoints, trans_type: str, name: str) -> Story:
    steps = random.randint(1, 4)
    delay = random.choice(["", "", '{"delay":5}', '{"delay":40}'])
    options = Options(
        wait_result=random.random() < 0.5,
        concurrent=random.random() < 0.4,
        timeout_to_fail=random.choice([0, 3, 12]),
    )
    request = TransactionRequest(
        f"msg-{name}",
        trans_type,
        steps=tuple(Step(url(random, endpoints, "do")) for _ in range(steps)),
        payloads=(b"x" * random.choice(PAYLOADS),) * steps,
        query_prepared=random.choice(["", url(random, endpoints, "ask"), url(random, endpoints, "ask")]),
        custom_data=delay,
        options=options,
    )
    return Story(request)


def _workflow(random: Random, endpoints: Endpoints, trans_type: str, name: str) -> Story:
    request = TransactionRequest(
        f"workflow-{name}",
        trans_type,
        query_prepared=url(random, endpoints, "resume"),
        custom_data='{"name":"transfer","data":"e30="}',
        options=Options(retry_interval=random.choice([0, 4]), timeout_to_fail=random.choice([0, 5])),
    )
    return Story(request, steps=random.randint(1, 4))


_MAKERS: dict[str, Callable[[Random, Endpoints, str, str], Story]] = {
    "saga": _saga,
    "results": _saga_with_results,
    "tcc": _registering,
    "xa": _registering,
    "msg": _message,
    "workflow": _workflow,
}
