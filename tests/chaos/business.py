"""Sagas over the branch service, and what must be true of its tables afterwards."""

import asyncio
import contextlib
import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import orjson

from branches.proto.user import UserRequest
from branches.proto.userscore import UserScoreRequest
from coordinator.client import BranchStatus, Dtm, Saga, Status, TransactionView
from coordinator.proto import dtmgimp
from tests.support.patience import PATIENCE
from tests.support.ports import HOST, answers, free_port, is_listening
from tests.support.processes import Process
from tests.support.under_test import ROOT, CoordinatorProcess

GOOD_SCORE = 10
REFUSED_SCORE = 101


class BranchService(Process):
    """The process of branch_service.py; one that was killed starts again on the same ports and file."""

    def __init__(self, folder: Path) -> None:
        """folder: where its SQLite file is."""
        self.file = folder / "business.db"
        self.http_port, self.grpc_port = free_port(), free_port()
        super().__init__(
            [
                *(sys.executable, "-m", "tests.chaos.branch_service"),
                *(str(self.file), str(self.http_port), str(self.grpc_port)),
            ],
            name="branch service",
            environment={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            folder=ROOT,
            ready=lambda: is_listening(self.grpc_port) and answers(f"{self.http_url}/state"),
        )

    @property
    def http_url(self) -> str:
        """`http://127.0.0.1:port`."""
        return f"http://{HOST}:{self.http_port}"

    @property
    def grpc_address(self) -> str:
        """`127.0.0.1:port`."""
        return f"{HOST}:{self.grpc_port}"

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """Return the rows of a query on its database."""
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            return connection.execute(sql).fetchall()


@dataclass(frozen=True, slots=True)
class Plan:
    """One saga to be submitted."""

    gid: str
    number: int  # also the user's id
    grpc: bool
    fails: bool
    wait_result: bool


@dataclass(slots=True)
class Seen:
    """What the submitters were told; a gid is in at most one of the two."""

    succeeded: set[str] = field(default_factory=set)
    rolled_back: set[str] = field(default_factory=set)


def plans(count: int, random: Random, name: str) -> list[Plan]:
    """Return sagas in a random order: half HTTP, half gRPC; a third of each fail; half wait for results."""
    made = [
        Plan(
            gid=f"{name}-{number}",
            number=number,
            grpc=number % 2 == 0,
            fails=number % 3 == 0,
            wait_result=random.random() < 0.5,
        )
        for number in range(1, count + 1)
    ]
    random.shuffle(made)
    return made


def saga_of(dtm: Dtm, plan: Plan, service: BranchService) -> Saga:
    """Build the saga of a plan: a user, then its score."""
    saga = dtm.saga(plan.gid, wait_result=plan.wait_result, retry_interval=1)
    if plan.grpc:
        for (action, compensate), payload in zip(_grpc_urls(service), _grpc_payloads(plan), strict=True):
            saga.add(action, compensate, payload)
        return saga
    score = REFUSED_SCORE if plan.fails else GOOD_SCORE
    url = service.http_url
    saga.add(f"{url}/saveUser", f"{url}/deleteUser", {"id": plan.number})
    saga.add(f"{url}/saveScore", f"{url}/deleteScore", {"id": plan.number, "score": score})
    return saga


def body_of(plan: Plan, service: BranchService) -> bytes:
    """Return the body that submits an HTTP plan, for tests that look at the answer themselves."""
    url = service.http_url
    score = REFUSED_SCORE if plan.fails else GOOD_SCORE
    return orjson.dumps(
        {
            "gid": plan.gid,
            "trans_type": "saga",
            "protocol": "http",
            "wait_result": plan.wait_result,
            "retry_interval": 1,
            "steps": [
                {"action": f"{url}/saveUser", "compensate": f"{url}/deleteUser"},
                {"action": f"{url}/saveScore", "compensate": f"{url}/deleteScore"},
            ],
            "payloads": [
                orjson.dumps({"id": plan.number}).decode(),
                orjson.dumps({"id": plan.number, "score": score}).decode(),
            ],
        }
    )


def grpc_request_of(plan: Plan, service: BranchService) -> dtmgimp.DtmRequest:
    """Return the message that submits a gRPC plan, for tests that look at the answer themselves."""
    user, score = _grpc_payloads(plan)
    steps = [{"action": action, "compensate": compensate} for action, compensate in _grpc_urls(service)]
    return dtmgimp.DtmRequest(
        gid=plan.gid,
        trans_type="saga",
        trans_options=dtmgimp.DtmTransOptions(wait_result=plan.wait_result, retry_interval=1),
        bin_payloads=[user, score],
        steps=orjson.dumps(steps).decode(),
    )


def _grpc_urls(service: BranchService) -> list[tuple[str, str]]:
    user, score = f"{service.grpc_address}/user.User", f"{service.grpc_address}/userscore.UserScore"
    return [
        (f"{user}/saveUser", f"{user}/saveUserCallback"),
        (f"{score}/saveUserScore", f"{score}/saveUserScoreCallback"),
    ]


def _grpc_payloads(plan: Plan) -> tuple[bytes, bytes]:
    score = REFUSED_SCORE if plan.fails else GOOD_SCORE
    user = UserRequest(id=str(plan.number), name="a name")
    return bytes(user), bytes(UserScoreRequest(user_id=plan.number, score=score))


@contextlib.asynccontextmanager
async def clients(coordinator: CoordinatorProcess, *, timeout: float) -> AsyncIterator[tuple[Dtm, Dtm]]:
    """Open a client of each protocol: HTTP, gRPC."""
    async with (
        Dtm(coordinator.http_url, timeout=timeout) as http,
        Dtm(f"grpc://{coordinator.grpc_address}", timeout=timeout) as grpc,
    ):
        yield http, grpc


async def until_final(dtm: Dtm, gids: Iterable[str], *, seconds: float) -> dict[str, TransactionView]:
    """Ask for each gid until all are final, and return what is stored of them.

    Fails, naming those that are not final, when the time is over, and for a gid that is not stored.
    """
    deadline = time.monotonic() + seconds * PATIENCE
    found: dict[str, TransactionView] = {}
    left = list(gids)
    while left:
        views = [view for gid in left if (view := await _stored(dtm, gid)).is_final]
        found.update((view.gid, view) for view in views)
        left = [gid for gid in left if gid not in found]
        if left:
            assert time.monotonic() < deadline, f"{len(left)} not final after {seconds} s: {left[:10]}"
            await asyncio.sleep(0.05)  # the coordinator tells nobody when a transaction ends
    return found


async def _stored(dtm: Dtm, gid: str) -> TransactionView:
    view = await dtm.query(gid)
    assert view is not None, f"{gid} was acknowledged and is not stored"
    return view


async def until(holds: Callable[[], Awaitable[bool]], *, seconds: float, what: str) -> float:
    """Wait until something holds; return the seconds it took, or fail saying what did not come."""
    started = time.monotonic()
    while not await holds():
        assert time.monotonic() - started < seconds * PATIENCE, f"after {seconds} s still not: {what}"
        await asyncio.sleep(0.05)
    return time.monotonic() - started


def check(
    made: Iterable[Plan],
    views: Mapping[str, TransactionView],
    service: BranchService,
    seen: Seen | None = None,
) -> None:
    """Assert that every saga ended as planned, and that the business tables agree with it row by row."""
    made = list(made)
    seen = seen or Seen()
    for plan in made:
        view = views[plan.gid]
        assert view.status is (Status.FAILED if plan.fails else Status.SUCCEED), view.raw
        assert plan.gid not in (seen.succeeded if plan.fails else seen.rolled_back), view.raw
        stored = {(branch.branch_id, branch.op): branch.status for branch in view.branches}
        assert stored == _branches_expected(fails=plan.fails), view.raw
    wanted = sorted(plan.number for plan in made if not plan.fails)
    assert [row[0] for row in service.rows("SELECT id FROM user ORDER BY id")] == wanted
    assert [row[0] for row in service.rows("SELECT user_id FROM user_score ORDER BY user_id")] == wanted
    twice = service.rows("SELECT gid, branch_id, op FROM effect GROUP BY 1, 2, 3 HAVING count(*) > 1")
    assert twice == [], "effects that happened twice"
    effects = {
        (str(gid), str(branch), str(op))
        for gid, branch, op in service.rows("SELECT gid, branch_id, op FROM effect")
    }
    expected = {
        effect
        for plan in made
        for effect in (
            ((plan.gid, "01", "action"), (plan.gid, "01", "compensate"))
            if plan.fails
            else ((plan.gid, "01", "action"), (plan.gid, "02", "action"))
        )
    }
    assert effects == expected


def _branches_expected(*, fails: bool) -> dict[tuple[str, str], BranchStatus]:
    if fails:
        return {
            ("01", "action"): BranchStatus.SUCCEED,
            ("01", "compensate"): BranchStatus.SUCCEED,
            ("02", "action"): BranchStatus.FAILED,
            ("02", "compensate"): BranchStatus.SUCCEED,
        }
    return {
        ("01", "action"): BranchStatus.SUCCEED,
        ("01", "compensate"): BranchStatus.PREPARED,
        ("02", "action"): BranchStatus.SUCCEED,
        ("02", "compensate"): BranchStatus.PREPARED,
    }
