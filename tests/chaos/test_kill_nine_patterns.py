"""`kill -9` of the coordinator under TCC and two-phase messages, whose own clients die as well."""

import asyncio
import time
from collections import Counter, deque
from dataclasses import dataclass
from random import Random

import orjson
import pytest

from coordinator.client import Dtm, Failure, Ongoing, Status, TransactionView
from tests.chaos.business import GOOD_SCORE, REFUSED_SCORE, BranchService, clients, until_final
from tests.chaos.test_kill_nine import SUBMIT_SECONDS, kill_while
from tests.conftest import StartCoordinator
from tests.support.under_test import Store

TRANSACTIONS = 420
SUBMITTERS = 8
KILLS_MIN = 2  # fewer would prove little
CLIENT_GONE_SECONDS = 2  # timeout_to_fail of what its client leaves behind

# What a transaction is, and how it must end.
KINDS = {
    "tcc-confirmed": Status.SUCCEED,
    "tcc-refused": Status.FAILED,  # the second try says no
    "tcc-forgotten": Status.FAILED,  # its client dies between the tries and the submit
    "msg-submitted": Status.SUCCEED,
    "msg-forgotten-committed": Status.SUCCEED,  # its client dies before the submit, but had committed
    "msg-forgotten": Status.FAILED,  # and had not
}


class ClientDied(BaseException):
    """So dies a client in the middle of a block: nothing after it is said to the coordinator."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One transaction. number: also the user's id."""

    number: int
    kind: str

    @property
    def gid(self) -> str:
        return f"{self.number}-{self.kind}"

    def payload(self) -> bytes:
        score = REFUSED_SCORE if self.kind == "tcc-refused" else GOOD_SCORE
        return orjson.dumps({"id": self.number, "score": score})


@pytest.mark.timeout(120)
async def test_tcc_and_messages_end_as_they_must_when_the_coordinator_is_killed(
    start_coordinator: StartCoordinator,
    branch_service: BranchService,
    store: Store | None,
    seed: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    random = Random(seed)
    kinds = list(KINDS)
    plans = [Plan(number, kinds[number % len(kinds)]) for number in range(1, TRANSACTIONS + 1)]
    random.shuffle(plans)
    coordinator = await asyncio.to_thread(start_coordinator, store=store)
    started = time.monotonic()
    async with clients(coordinator, timeout=SUBMIT_SECONDS) as (http, grpc):
        waiting = deque(plans)
        submitters = [
            asyncio.create_task(_run_all(waiting, (http, grpc)[n % 2], branch_service.http_url))
            for n in range(SUBMITTERS)
        ]
        kills = await kill_while(coordinator, submitters, random)
        await asyncio.gather(*submitters)
        views = await until_final(http, [plan.gid for plan in plans], seconds=40)
    _check(plans, views, branch_service)
    with capsys.disabled():
        print(
            f"\n  {TRANSACTIONS} tcc and msg, {kills} kills, {time.monotonic() - started:.1f} s, seed {seed}"
        )
    assert kills >= KILLS_MIN


async def _run_all(waiting: deque[Plan], dtm: Dtm, url: str) -> None:
    while waiting:
        plan = waiting.popleft()
        try:
            await (_tcc(dtm, plan, url) if plan.kind.startswith("tcc") else _message(dtm, plan, url))
        except Failure:
            # A repeated submit or abort of what has ended meanwhile is refused by its status, and so is a
            # repeated prepare whose first attempt was taken and whose sender has been asked since.
            assert KINDS[plan.kind] is Status.FAILED or plan.kind == "msg-forgotten-committed", plan
        except (Ongoing, ClientDied):
            continue


async def _tcc(dtm: Dtm, plan: Plan, url: str) -> None:
    forgotten = plan.kind == "tcc-forgotten"
    limit = CLIENT_GONE_SECONDS if forgotten else 0
    async with dtm.tcc(plan.gid, retry_interval=1, timeout_to_fail=limit) as tcc:
        for what in ("User", "Score"):
            await tcc.call_branch(
                plan.payload(), f"{url}/save{what}", f"{url}/confirm{what}", f"{url}/delete{what}"
            )
        if forgotten:
            raise ClientDied


async def _message(dtm: Dtm, plan: Plan, url: str) -> None:
    forgotten = plan.kind != "msg-submitted"
    msg = dtm.msg(
        plan.gid,
        query_prepared=f"{url}/queryPrepared",
        retry_interval=1,
        timeout_to_fail=CLIENT_GONE_SECONDS if forgotten else 0,
    )
    msg.add(f"{url}/saveUser", plan.payload()).add(f"{url}/saveScore", plan.payload())
    await msg.prepare()
    if not forgotten:
        await msg.submit()


def _check(plans: list[Plan], views: dict[str, TransactionView], service: BranchService) -> None:
    """Every end is the planned one, and the business tables agree with it row by row."""
    for plan in plans:
        assert views[plan.gid].status is KINDS[plan.kind], views[plan.gid].raw
    done = sorted(plan.number for plan in plans if KINDS[plan.kind] is Status.SUCCEED)
    assert [row[0] for row in service.rows("SELECT id FROM user ORDER BY id")] == done
    assert [row[0] for row in service.rows("SELECT user_id FROM user_score ORDER BY user_id")] == done
    effects = Counter(
        (str(gid), str(branch), str(op))
        for gid, branch, op in service.rows("SELECT gid, branch_id, op FROM effect")
    )
    assert max(effects.values()) == 1, "effects that happened twice"
    for plan in plans:
        ops = {op for gid, _, op in effects if gid == plan.gid}
        assert not {"confirm", "cancel"} <= ops, f"{plan.gid} was confirmed and cancelled"
