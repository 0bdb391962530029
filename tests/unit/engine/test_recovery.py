"""What is due is taken up as far as there is room, and one endpoint is in no other's way (PROTOCOL §9)."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from loguru import logger

from coordinator.calls.base import SUCCESS, Answer
from coordinator.engine.admission import Bounds
from coordinator.engine.entry import Entry
from coordinator.engine.lease import Lease
from coordinator.errors import Failure, StoreUnavailable
from coordinator.hold import Hold
from coordinator.model import Branch, Options, Result, Status, Step, Transaction
from coordinator.store.base import Candidate, Due, Stored
from tests.simulation.rows import virtual_time
from tests.simulation.twin import virtual_now
from tests.unit.service.bench import Bench, Told, branch, request, succeed, virtually

INTERVAL = 3  # seconds, TransCronInterval of the bench


async def seconds_of(branch: Branch) -> Answer:
    """A service whose host name says how many seconds it takes, more or less; `hangs` never answers."""
    host = branch.url.split("/")[2]
    if host.startswith("hangs"):
        await asyncio.sleep(20)
        return Answer(Result.UNKNOWN, "gave no answer within 20 s")
    seconds = float(host.partition("s-")[0]) if "s-" in host else 0.01
    await asyncio.sleep(
        seconds * (0.9 + int(branch.gid[1:] or 0) % 21 / 100 if branch.gid[1:].isdigit() else 1)
    )
    return SUCCESS


def put_due(
    bench: Bench, gid: str, url: str, *, trans_type: str = "msg", size: int = 2, **values: Any
) -> None:
    """A transaction of one step that is due now."""
    row = Transaction(
        gid,
        trans_type,
        Status.SUBMITTED,
        create_time=virtual_now(),
        next_cron_interval=10,
        next_cron_time=virtual_now(),
        id=bench.rows.next_id,
    )
    bench.rows.next_id += 1
    bench.rows.commit(replace(row, **values), (Branch(gid, "01", "action", url, b"x" * size),))


async def submit_many(bench: Bench, count: int, url: str) -> None:
    """Submit sagas s0, s1 … of one step, a thousand at once."""
    one = replace(request(steps=1), steps=(Step(url, "http://shop/undo"),))
    for start in range(0, count, 1000):
        gids = [f"s{number}" for number in range(start, min(start + 1000, count))]
        await asyncio.gather(*(bench.transactions.submit(replace(one, gid=gid)) for gid in gids))


def read_by(bench: Bench) -> list[str]:
    """The gids whose rows recovery reads from now on."""
    read: list[str] = []
    look_at = bench.store.look_at

    async def watched(due: Sequence[Due]) -> Sequence[Candidate]:
        read.extend(one.gid for one in due)
        return await look_at(due)

    bench.store.look_at = watched  # type: ignore[method-assign]
    return read


async def ended(bench: Bench, gids: list[str], within: float) -> float:
    """Wait until all of these have ended; returns the seconds that took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while any(not bench.rows.transactions[gid].status.is_final for gid in gids):
        assert loop.time() - began < within, "too slow"
        await asyncio.sleep(0.05)
    return loop.time() - began


@virtually
async def test_a_healthy_service_is_kept_busy_by_all_that_is_due_for_it() -> None:
    """3,000 at once, 1 s each, 256 at a time: 11.7 s of work. Nothing counts as failed."""
    told = Told()
    bench = Bench(seconds_of, alerts=told, bounds=Bounds())
    gids = [f"m{number}" for number in range(3000)]
    for gid in gids:
        put_due(bench, gid, "http://1s-each/do")
    looking = asyncio.create_task(bench.recovery.run())
    assert await ended(bench, gids, within=60) <= 3000 / 256 / 0.9
    looking.cancel()
    assert told.alerts == []
    assert {row.next_cron_interval for row in bench.rows.transactions.values()} == {10}
    assert len(bench.caller.called) == 3000


@virtually
async def test_of_what_is_claimed_together_few_begin_in_one_turn() -> None:
    """Others have theirs in between, however many are due."""
    begun: list[int] = []  # by turn of the loop

    async def count(_: Branch) -> Answer:
        begun[-1] += 1
        return SUCCESS

    bench = Bench(count, bounds=Bounds())
    gids = [f"m{number}" for number in range(120)]
    for gid in gids:
        put_due(bench, gid, "http://shop/do")

    async def turn() -> None:
        while True:
            begun.append(0)
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    await bench.recovery.look()
    turning.cancel()
    assert sum(begun) == 120
    assert max(begun) <= 8


@virtually
async def test_a_lease_ends_when_its_row_says_however_long_it_took_to_claim_it(monkeypatch: Any) -> None:
    bench = Bench(seconds_of)
    put_due(bench, "m1", "http://5s-each/do")
    find_due, start = bench.store.find_due, bench.first.engine.start
    leases: list[tuple[datetime, float]] = []

    async def slow(*, now: datetime, limit: int, also: Sequence[str]) -> Sequence[Due]:
        await asyncio.sleep(7)
        return await find_due(now=now, limit=limit, also=also)

    def watched(stored: Stored, lease: Lease, entry: Entry) -> None:
        leases.append((stored.transaction.next_cron_time, lease.expires_at))
        start(stored, lease, entry)

    monkeypatch.setattr(bench.store, "find_due", slow)
    monkeypatch.setattr(bench.first.engine, "start", watched)
    await bench.recovery.look()
    [(of_row, of_driver)] = leases
    assert virtual_time(of_driver) <= of_row


@virtually
async def test_services_that_hang_do_not_hold_up_the_others() -> None:
    """Right after a start, too, when everything is due at once, and for as long as they hang."""
    bench = Bench(seconds_of, bounds=Bounds())
    slow = Options(request_timeout=20)
    for number in range(200):
        for service in range(20):
            put_due(bench, f"h{service}-{number}", f"http://hangs-{service}/do", options=slow)
    gids = [f"g{service}-{number}" for service in range(20) for number in range(5)]
    for gid in gids:
        put_due(bench, gid, f"http://{gid.partition('-')[0]}/do")
    looking = asyncio.create_task(bench.recovery.run())
    assert await ended(bench, gids, within=60) <= INTERVAL + 2
    for round in range(5):
        await asyncio.sleep(7)
        later = [f"later{round}-{service}" for service in range(20)]
        for gid in later:
            put_due(bench, gid, f"http://{gid}/do")
        assert await ended(bench, later, within=60) <= INTERVAL + 2
    looking.cancel()


@virtually
async def test_a_call_that_was_not_made_is_no_repeat() -> None:
    """A saga with a RetryLimit at a busy endpoint must not be rolled back without having been called."""
    bench = Bench(seconds_of, bounds=Bounds(window_max=1))
    busy = replace(request(steps=1, request_timeout=40), gid="busy", steps=(Step("http://30s-busy/do"),))
    await bench.transactions.submit(busy)
    await asyncio.sleep(0.1)
    asked = replace(
        request(steps=1, request_timeout=40, retry_limit=1),
        gid="limited",
        steps=(Step("http://30s-busy/do", "http://x/undo"),),
    )
    await bench.transactions.submit(asked)
    looking = asyncio.create_task(bench.recovery.run())
    await asyncio.sleep(25)
    row = bench.rows.transactions["limited"]
    assert (row.status, row.owner, row.next_cron_interval) == (Status.SUBMITTED, "", 10)
    assert bench.caller.called == ["action 01"]
    await ended(bench, ["limited"], within=60)
    looking.cancel()
    assert bench.rows.transactions["limited"].status is Status.SUCCEED


@virtually
async def test_a_submit_to_a_full_endpoint_is_stored_and_not_driven() -> None:
    bench = Bench(seconds_of, bounds=Bounds(window_max=2))
    for number in range(10):
        step = Step("http://30s-busy/do")
        await bench.transactions.submit(replace(request(steps=1), gid=f"g{number}", steps=(step,)))
    await asyncio.sleep(0.4)  # each that found no place has taken a moment
    assert bench.first.engine.running <= 4
    waiting = [row for row in bench.rows.transactions.values() if row.owner == ""]
    assert len(waiting) >= 6
    for row in waiting:
        assert row.status is Status.SUBMITTED
        assert timedelta(seconds=0.5) <= row.next_cron_time - virtual_now() <= timedelta(seconds=11)


@virtually
async def test_who_waits_for_the_result_hears_of_a_later_round() -> None:
    bench = Bench(seconds_of, bounds=Bounds(window_max=1))
    step = Step("http://2s-busy/do")
    looking = asyncio.create_task(bench.recovery.run())
    first = replace(request(steps=1), gid="first", steps=(step,))
    await bench.transactions.submit(first)
    await asyncio.sleep(0.1)
    waiting = replace(request(steps=1, wait_result=True), gid="second", steps=(step,))
    await bench.transactions.submit(waiting)
    assert bench.rows.transactions["second"].status is Status.SUCCEED
    looking.cancel()


@virtually
async def test_who_waits_in_vain_is_told_so_in_time() -> None:
    bench = Bench(seconds_of, bounds=Bounds(window_max=1))
    step = Step("http://30s-busy/do")
    await bench.transactions.submit(replace(request(steps=1), gid="first", steps=(step,)))
    await asyncio.sleep(0.1)
    began = asyncio.get_running_loop().time()
    with pytest.raises(Failure, match="wait result not return success"):
        await bench.transactions.submit(
            replace(request(steps=1, wait_result=True), gid="second", steps=(step,))
        )
    assert asyncio.get_running_loop().time() - began <= 5.1


@virtually
async def test_what_is_due_is_taken_up_as_far_as_memory_allows() -> None:
    """200 transactions of 4 MB each in a house of 64 MB."""
    bench = Bench(seconds_of, bounds=Bounds())
    gids = [f"g{number}" for number in range(200)]
    for gid in gids:
        put_due(bench, gid, f"http://1s-{gid}/do", size=4_000_000)
    most = 0
    looking = asyncio.create_task(bench.recovery.run())

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, bench.tools.admission.bytes_inside)
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    await ended(bench, gids, within=60)
    watching.cancel()
    looking.cancel()
    assert 40_000_000 < most <= 64 << 20


@virtually
@pytest.mark.parametrize("busy_first", [True, False])
@pytest.mark.parametrize("is_submitted", [True, False])
async def test_a_full_endpoint_holds_up_no_branch_at_another(busy_first: bool, is_submitted: bool) -> None:
    """Whatever the order of the steps of a concurrent saga, submitted now or taken up later."""
    bench = Bench(seconds_of, bounds=Bounds(window_max=1))
    busy = replace(request(steps=1, request_timeout=40), gid="busy", steps=(Step("http://30s-busy/do"),))
    await bench.transactions.submit(busy)
    await asyncio.sleep(0.1)
    steps = [Step("http://30s-busy/do"), Step("http://free/do")]
    both = replace(
        request(steps=2, concurrent=True), gid="both", steps=tuple(steps if busy_first else steps[::-1])
    )
    free = "02" if busy_first else "01"
    if is_submitted:
        await bench.transactions.submit(replace(busy, gid="refused"))
        await asyncio.sleep(1.5)  # for its place, in vain
        await bench.transactions.submit(both)
    else:
        put_due(bench, "both", "", custom_data='{"concurrent":true}', trans_type="saga")
        rows = [
            row
            for number, step in enumerate(both.steps, 1)
            for row in (
                Branch("both", f"0{number}", "compensate", ""),
                Branch("both", f"0{number}", "action", step.action),
            )
        ]
        bench.rows.branches["both"] = tuple(rows)
    looking = asyncio.create_task(bench.recovery.run())
    await asyncio.sleep(2)
    looking.cancel()
    assert f"action {free}" in bench.caller.called


@virtually
async def test_sagas_that_nobody_submits_are_out_of_the_way_after_one_look() -> None:
    bench = Bench(succeed)
    for number in range(10_000):
        put_due(bench, f"p{number}", "http://a/do", trans_type="saga", status=Status.PREPARED)
    put_due(bench, "waiting", "http://a/do")
    looking = asyncio.create_task(bench.recovery.run())
    assert await ended(bench, ["waiting"], within=60) < 0.1
    await asyncio.sleep(0.9)  # no pauses between the looks
    assert await bench.store.find_due(now=virtual_now(), limit=10) == []
    looking.cancel()
    assert bench.rows.transactions["p7"].status is Status.PREPARED


@virtually
async def test_a_row_that_no_client_can_have_made_ends_no_other() -> None:
    written: list[Any] = []
    number = logger.add(lambda message: written.append(message.record), level="ERROR")
    bench = Bench(succeed)
    put_due(bench, "odd", "http://a/do", trans_type="saga")  # a saga's step has a compensation
    put_due(bench, "odder", "http://a/do", trans_type="SAGA")
    put_due(bench, "cyclic", "http://a/do", custom_data="{]")
    put_due(bench, "sound", "http://a/do")
    looking = asyncio.create_task(bench.recovery.run())
    await ended(bench, ["sound"], within=5)
    await asyncio.sleep(200)
    looking.cancel()
    logger.remove(number)
    assert sorted(record["extra"]["gid"] for record in written) == ["cyclic", "odd", "odder"]


@virtually
async def test_a_time_limit_holds_for_what_is_deferred() -> None:
    bench = Bench(seconds_of, bounds=Bounds(window_max=1))
    for number in range(3):
        put_due(bench, f"h{number}", "http://60s-busy/do")
    asked = request(steps=1, timeout_to_fail=6)
    looking = asyncio.create_task(bench.recovery.run())
    await asyncio.sleep(0.5)
    await bench.transactions.submit(
        replace(asked, gid="limited", steps=(Step("http://60s-busy/do", "http://other/undo"),))
    )
    await asyncio.sleep(12)
    looking.cancel()
    assert bench.rows.transactions["limited"].rollback_reason == "Timeout after 6 seconds"


@virtually
async def test_what_was_submitted_to_a_full_endpoint_is_not_read_again_before_it_has_a_place() -> None:
    bench = Bench(seconds_of, bounds=Bounds(window_max=4))
    read = read_by(bench)
    looking = asyncio.create_task(bench.recovery.run())
    hangs = replace(request(steps=1), steps=(Step("http://hangs/do", "http://hangs/undo"),))
    for number in range(40):
        await bench.transactions.submit(replace(hangs, gid=f"h{number}"))
    deferred = {write.after.gid for write in bench.rows.history if not (write.before or write.after.owner)}
    assert len(deferred) > 30
    await asyncio.sleep(15)  # each came due, and was deferred once more
    assert deferred.isdisjoint(read)
    looking.cancel()


@virtually
async def test_what_was_deferred_and_comes_due_when_there_is_room_is_claimed_without_being_read_again() -> (
    None
):
    bench = Bench(seconds_of, bounds=Bounds(window_max=4))
    read = read_by(bench)
    busy = replace(request(steps=1), steps=(Step("http://2s-busy/do", "http://2s-busy/undo"),))
    for number in range(12):
        await bench.transactions.submit(replace(busy, gid=f"b{number}"))
    gids = [gid for gid, row in bench.rows.transactions.items() if not row.owner]
    assert len(gids) >= 6
    await asyncio.sleep(20)  # those that ran have ended, and nobody has looked
    looking = asyncio.create_task(bench.recovery.run())
    await ended(bench, gids, within=20)
    looking.cancel()
    assert set(gids).isdisjoint(read)


@virtually
async def test_what_backs_off_at_a_crowd_is_not_read_again_and_not_called_before_its_time() -> None:
    calls: dict[str, list[float]] = defaultdict(list)
    loop = asyncio.get_running_loop()

    async def gives_no_result(branch: Branch) -> Answer:
        calls[branch.gid].append(loop.time())
        await asyncio.sleep(3)
        return Answer(Result.UNKNOWN, "no answer")

    bench = Bench(gives_no_result, bounds=Bounds(window_max=4))
    read = read_by(bench)
    looking = asyncio.create_task(bench.recovery.run())
    for number in range(60):
        await bench.transactions.submit(replace(request(steps=1), gid=f"s{number}"))
    await asyncio.sleep(60)
    looking.cancel()
    again = {gid for gid, times in calls.items() if len(times) > 1}
    assert len(again) > 20
    assert again.isdisjoint(read)
    for times in calls.values():
        assert all(later - earlier >= 3 + 10 for earlier, later in pairwise(times)), "its interval is 10 s"


@virtually
async def test_what_a_driver_lets_go_for_want_of_a_place_goes_when_there_is_one_without_being_read() -> None:
    bench = Bench(seconds_of, bounds=Bounds(window_max=4))
    read = read_by(bench)
    looking = asyncio.create_task(bench.recovery.run())
    gids = [f"b{number}" for number in range(40)]
    one = replace(request(steps=1), steps=(Step("http://2s-busy/do", "http://2s-busy/undo"),))
    # At once: each is driven, and most find the short queue full.
    await asyncio.gather(*(bench.transactions.submit(replace(one, gid=gid)) for gid in gids))
    assert await ended(bench, gids, within=30) < 22, "four places, two seconds each, forty calls"
    looking.cancel()
    assert not read


@virtually
async def test_what_is_due_is_asked_for_once_a_second_while_what_is_at_hand_fills_the_places() -> None:
    bench = Bench(seconds_of, bounds=Bounds(window_max=4))
    asked: list[float] = []
    find_due, loop = bench.store.find_due, asyncio.get_running_loop()

    async def watched(**values: Any) -> Sequence[Due]:
        asked.append(loop.time())
        return await find_due(**values)

    bench.store.find_due = watched  # type: ignore[method-assign]
    looking = asyncio.create_task(bench.recovery.run())
    for number in range(200):
        put_due(bench, f"b{number}", "http://0.1s-busy/do")
    bench.recovery.wake()
    await ended(bench, [f"b{number}" for number in range(200)], within=20)
    looking.cancel()
    by_second = Counter(int(time) for time in asked)
    assert max(by_second[second] for second in range(2, 5)) <= 2, "its places come free forty times a second"


@virtually
async def test_what_somebody_makes_due_during_a_look_is_found_by_the_next() -> None:
    """However many that are at hand would fill the places before."""
    bench = Bench(seconds_of, bounds=Bounds(window_max=4))
    for number in range(200):
        put_due(bench, f"b{number}", "http://0.1s-busy/do")
    put_due(bench, "reset", "http://other/do", next_cron_time=virtual_now() + timedelta(seconds=1000))
    looking = asyncio.create_task(bench.recovery.run())
    await asyncio.sleep(2.5)
    claim, was_reset = bench.store.claim, asyncio.Event()

    async def slow(*values: Any, **named: Any) -> Sequence[Stored]:
        if not was_reset.is_set():
            row, branches = bench.rows.transactions["reset"], bench.rows.branches["reset"]
            bench.rows.commit(replace(row, next_cron_time=virtual_now().replace(microsecond=0)), branches)
            bench.recovery.wake()
            was_reset.set()
        claimed = await claim(*values, **named)
        await asyncio.sleep(0.06)
        return claimed

    bench.store.claim = slow  # type: ignore[method-assign]
    await was_reset.wait()
    assert await ended(bench, ["reset"], within=20) < 0.3
    looking.cancel()


@virtually
@pytest.mark.parametrize("is_submitted", [True, False])
async def test_what_finds_several_services_full_is_called_at_the_first_that_has_room(
    is_submitted: bool,
) -> None:
    bench = Bench(seconds_of, bounds=Bounds(window_max=1))
    looking = asyncio.create_task(bench.recovery.run())
    hangs, busy = Step("http://hangs/do", "http://hangs/undo"), Step("http://5s-busy/do", "http://other/undo")
    for number in range(40):
        await bench.transactions.submit(replace(request(steps=1), gid=f"h{number}", steps=(hangs,)))
    await bench.transactions.submit(replace(request(steps=1), gid="b0", steps=(busy,)))
    await asyncio.sleep(2)
    both = replace(request(steps=2, concurrent=True), gid="both", steps=(hangs, busy))
    if is_submitted:
        await bench.transactions.submit(both)
    else:
        put_due(bench, "both", "", custom_data='{"concurrent":true}', trans_type="saga")
        bench.rows.branches["both"] = tuple(
            Branch("both", f"0{number}", op, url)
            for number, step in enumerate(both.steps, 1)
            for op, url in (("compensate", step.compensate), ("action", step.action))
        )
        bench.recovery.wake()
    await asyncio.sleep(20)
    looking.cancel()
    succeeded = [branch.branch_id for branch in bench.rows.branches["both"] if branch.status == "succeed"]
    assert succeeded == ["02"]


@virtually
async def test_a_saga_of_several_services_is_called_where_there_is_room_though_a_crowd_waits_elsewhere() -> (
    None
):
    times: list[float] = []
    loop = asyncio.get_running_loop()

    async def answer(branch: Branch) -> Answer:
        if "hangs" in branch.url:
            await asyncio.sleep(3)
            return Answer(Result.UNKNOWN, "no answer")
        times.append(loop.time())
        return Answer(Result.UNKNOWN, "down")

    bench = Bench(answer, bounds=Bounds(window_max=4))
    looking = asyncio.create_task(bench.recovery.run())
    hangs, free = Step("http://hangs/do", "http://hangs/undo"), Step("http://free/do", "http://free/undo")
    await bench.transactions.submit(
        replace(request(steps=2), steps=(hangs, free), options=Options(concurrent=True))
    )
    for number in range(300):
        await bench.transactions.submit(replace(request(steps=1), gid=f"h{number}", steps=(hangs,)))
    await asyncio.sleep(120)
    looking.cancel()
    assert len(times) >= 3, "its interval is 20 s after the first round, then 40"


@virtually
async def test_a_time_limit_that_passes_while_it_is_stored_is_kept() -> None:
    """Its endpoint stays full: it is deferred again and again, unless its limit asks for something else."""
    bench = Bench(seconds_of, bounds=Bounds(window_max=1))
    for number in range(4):
        put_due(bench, f"h{number}", "http://60s-busy/do")
    looking = asyncio.create_task(bench.recovery.run())
    await asyncio.sleep(0.95)
    insert = bench.store.insert

    async def slow(transaction: Transaction, branches: Sequence[Branch], *, timeout: float) -> bool:
        await asyncio.sleep(1.2)
        return await insert(transaction, branches, timeout=timeout)

    bench.store.insert = slow  # type: ignore[method-assign]
    asked = replace(request(steps=1, timeout_to_fail=1), gid="limited")
    await bench.transactions.submit(replace(asked, steps=(Step("http://60s-busy/do", "http://other/undo"),)))
    await asyncio.sleep(12)
    looking.cancel()
    assert bench.rows.transactions["limited"].rollback_reason == "Timeout after 1 seconds"


@virtually
async def test_submits_that_find_no_place_are_stored_by_one_commit_and_soon() -> None:
    bench = Bench(seconds_of, bounds=Bounds(window_max=1))
    busy = replace(request(steps=1), steps=(Step("http://30s-busy/do"),))
    for number in range(4):  # until its door is known to be full
        await bench.transactions.submit(replace(busy, gid=f"first{number}"))
    loop = asyncio.get_running_loop()
    asked: list[float] = []
    insert = bench.store.insert

    async def watched(transaction: Transaction, branches: Sequence[Branch], *, timeout: float) -> bool:
        asked.append(loop.time())
        return await insert(transaction, branches, timeout=timeout)

    bench.store.insert = watched  # type: ignore[method-assign]
    began = loop.time()

    async def submit(number: int) -> None:
        await asyncio.sleep(number / 1000)
        await bench.transactions.submit(replace(busy, gid=f"g{number}"))

    await asyncio.gather(*(submit(number) for number in range(4)))
    assert len(asked) == 4
    assert len(set(asked)) == 1
    assert asked[0] - began <= 0.01


@virtually
async def test_many_that_wait_for_one_endpoint_are_not_deferred_all_the_time() -> None:
    """To write 12,000 rows every ten seconds helps none of them, who go when there is a place."""
    bench = Bench(seconds_of, bounds=Bounds())
    for number in range(12_000):
        put_due(bench, f"h{number}", "http://hangs/do")
    looking = asyncio.create_task(bench.recovery.run())
    await asyncio.sleep(60)
    looking.cancel()
    deferrals = sum(write.by == "defer" for write in bench.rows.history)
    assert deferrals < 4 * 12_000
    assert len(bench.caller.called) > 256


@virtually
async def test_of_many_that_are_submitted_to_one_full_endpoint_few_come_due_meanwhile() -> None:
    """Each that is due is written again, and goes no sooner for it."""
    bench = Bench(seconds_of, bounds=Bounds(window_max=4))
    looking = asyncio.create_task(bench.recovery.run())
    await submit_many(bench, 12_000, "http://hangs/do")
    await asyncio.sleep(30)
    looking.cancel()
    deferrals = sum(write.by == "defer" for write in bench.rows.history)
    assert deferrals < 12_000


@virtually
async def test_what_was_submitted_to_a_full_endpoint_goes_when_there_is_room_whenever_it_is_due() -> None:
    """And before what comes later."""
    busy, called = [True], list[str]()

    async def service(branch: Branch) -> Answer:
        called.append(branch.gid)
        await asyncio.sleep(20 if busy[0] else 0.01)
        return SUCCESS

    bench = Bench(service, bounds=Bounds(window_max=64))
    looking = asyncio.create_task(bench.recovery.run())
    await submit_many(bench, 9_000, "http://shop/do")
    due = sorted(row.next_cron_time for row in bench.rows.transactions.values())
    assert (due[-1] - virtual_now()).total_seconds() > 30
    await asyncio.sleep(1)
    busy[0] = False
    await bench.transactions.submit(replace(request(steps=1), gid="late", steps=(Step("http://shop/do"),)))
    await asyncio.sleep(20)  # until the first calls are over
    gids = [f"s{number}" for number in range(9_000)]
    await ended(bench, [*gids, "late"], within=15)
    looking.cancel()
    assert called.index("late") > 8_000


@virtually
async def test_with_few_places_what_was_submitted_meanwhile_goes_as_fast_as_they_allow() -> None:
    busy = [True]

    async def service(_branch: Branch) -> Answer:
        await asyncio.sleep(5 if busy[0] else 0.01)
        return SUCCESS

    bench = Bench(service, bounds=Bounds(window_max=8))
    looking = asyncio.create_task(bench.recovery.run())
    await submit_many(bench, 3_000, "http://shop/do")
    await asyncio.sleep(1)
    busy[0] = False
    await asyncio.sleep(5)
    await ended(bench, [f"s{number}" for number in range(3_000)], within=12)
    looking.cancel()


@virtually
async def test_of_many_that_wait_for_a_held_endpoint_few_are_written() -> None:
    """200 a second of each coordinator, however many there are."""
    bench = Bench(seconds_of, bounds=Bounds())
    held = Hold("http://shop/do", "away", "op", virtual_now(), virtual_now() + timedelta(hours=1))
    bench.first.engine.tools.admission.hold(held, 3600)
    for number in range(12_000):
        put_due(bench, f"h{number}", "http://shop/do")
    looking = asyncio.create_task(bench.recovery.run())
    await asyncio.sleep(120)
    looking.cancel()
    assert sum(write.by == "defer" for write in bench.rows.history) < 12_000 + 120 * 200


@virtually
async def test_what_was_taken_up_and_could_not_be_written_is_still_at_hand() -> None:
    bench = Bench(seconds_of, bounds=Bounds(window_max=4))
    shelf = bench.first.engine.tools.shelf
    busy = replace(request(steps=1), steps=(Step("http://2s-busy/do"),))
    for number in range(40):
        await bench.transactions.submit(replace(busy, gid=f"b{number}"))
    await asyncio.sleep(2.5)  # the first calls are over
    before = shelf.count("http://2s-busy/do")

    async def away(*_args: Any, **_named: Any) -> Any:
        raise StoreUnavailable("away")

    bench.store.claim = away  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await bench.recovery.look()
    assert shelf.count("http://2s-busy/do") >= before > 10


@virtually
async def test_what_finds_no_place_again_is_put_off_in_small_pages_unless_that_comes_late() -> None:
    """Others' calls wait for each page; what finds a place waits for all that was due before."""
    bench = Bench(seconds_of, bounds=Bounds(window_max=4))
    looks: list[tuple[int, float]] = []  # how many rows were asked for, and how late the first was, seconds
    find_due = bench.store.find_due

    async def watched(*, now: datetime, limit: int, also: Sequence[str]) -> Sequence[Due]:
        found = await find_due(now=now, limit=limit, also=also)
        if found:
            looks.append((limit, (now - (found[0].next_cron_time or now)).total_seconds()))
        return found

    bench.store.find_due = watched  # type: ignore[method-assign]
    for number in range(1000):
        put_due(bench, f"h{number}", "http://hangs/do")
    looking = asyncio.create_task(bench.recovery.run())
    await asyncio.sleep(30)
    looking.cancel()
    full, small = 128, 64
    limits = [limit for limit, _ in looks]
    assert limits[: 1000 // full] == [full] * (1000 // full), "of these nothing was known"
    assert limits[-5:] == [small] * 5
    await asyncio.sleep(30)
    looks.clear()
    looking = asyncio.create_task(bench.recovery.run())
    await asyncio.sleep(10)
    looking.cancel()
    late = [seconds for _, seconds in looks]
    assert late[0] > 2 > late[-1]
    after_late = [limit for seconds, (limit, _) in zip(late, looks[1:], strict=False) if seconds >= 2]
    assert after_late == [full] * len(after_late)
    assert [limit for limit, _ in looks[-5:]] == [small] * 5


@virtually
async def test_a_stop_gives_back_what_is_held() -> None:
    bench = Bench(seconds_of)
    await bench.transactions.submit(replace(request(steps=1), steps=(Step("http://60s-each/do"),)))
    await asyncio.sleep(0.5)
    assert bench.row.owner != ""
    await bench.first.engine.stop(1)
    assert bench.row.owner == ""
    assert bench.row.next_cron_time <= virtual_now()


@virtually
async def test_what_is_too_large_to_be_driven_now_is_left_to_recovery() -> None:
    """How large a prepared transaction is shows when it is submitted: it is stored all the same."""
    bench = Bench(seconds_of, bounds=Bounds(bytes_max=10_000))
    for gid, size in (("g1", 2_000), ("g2", 2_000), ("g3", 2_000), ("g4", 2_000)):
        asked = replace(request("tcc"), gid=gid)
        await bench.transactions.prepare(asked)
        payload = b"x" * size
        await bench.branches.register(
            replace(branch("tcc", payload=payload, confirm="http://1s-each/confirm"), gid=gid)
        )
        await bench.transactions.submit(asked)
    assert bench.tools.admission.bytes_inside <= 10_000
    assert bench.rows.transactions["g4"].owner == ""
    assert bench.rows.transactions["g4"].status is Status.SUBMITTED
    looking = asyncio.create_task(bench.recovery.run())
    await ended(bench, ["g1", "g2", "g3", "g4"], within=30)
    looking.cancel()


@virtually
async def test_a_submit_repeated_at_a_full_coordinator_is_success() -> None:
    """PROTOCOL §5: it is submitted already, and takes no further place."""
    bench = Bench(seconds_of, bounds=Bounds(transactions_max=1))
    asked = replace(request(steps=1), gid="again", steps=(Step("http://2s-each/do"),))
    await bench.transactions.submit(asked)
    await asyncio.sleep(0.1)
    assert bench.tools.admission.problem
    await bench.transactions.submit(asked)
    await bench.transactions.submit(replace(asked, options=Options(wait_result=True)))
    assert bench.rows.transactions["again"].status is Status.SUCCEED
    assert bench.caller.called == ["action 01"]
