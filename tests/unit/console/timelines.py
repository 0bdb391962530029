"""Transactions to draw: what a night leaves behind, and anything that rows can hold."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from coordinator.attempt import Attempt, Kind, place_of
from coordinator.console.moments import length
from coordinator.console.words import words_in
from coordinator.explain.play import Rows
from coordinator.model import Branch, BranchStatus, Op, Options, Result, Status, Transaction, TransType
from coordinator.service.operate import Explained
from coordinator.timeline.teller import Teller
from tests.support.explained import explained

NOW = datetime(2026, 11, 29, 2, 14, 7, tzinfo=UTC)
LEDGER = "http://ledger:8080"


def teller(language: str = "en", now: datetime = NOW) -> Teller:
    words = words_in(language)
    return Teller(lambda key, **values: words(key, **values).unescape(), now, UTC, length)


def at(clock: str, day: int = 29) -> datetime:
    return datetime.fromisoformat(f"2026-11-{day}T{clock}+00:00")


def branch(branch_id: str, op: str, url: str, ended: datetime | None = None, **values: Any) -> Branch:
    made = Branch("g", branch_id, op, url, b"{}", create_time=at("23:43:02", 28), finish_time=ended)
    status = BranchStatus.PREPARED if ended is None else BranchStatus.SUCCEED
    return replace(made, **{"status": status, **values})


def attempt(
    branch_id: str,
    op: str,
    number: int,
    kind: Kind,
    began: datetime,
    last: datetime,
    times: int,
    **values: Any,
) -> Attempt:
    url, result = f"{LEDGER}/{op}", Result.UNKNOWN
    made = Attempt(
        "g", branch_id, op, place_of(number), number, result, kind, None, url, LEDGER, "", "f", "here", began,
        last, 0.03, times,
    )  # fmt: skip
    return replace(made, **values)


def night() -> Explained:
    """A saga whose second step refused, and whose first cannot be undone."""
    begun = at("23:43:02", 28)
    transaction = Transaction(
        "transfer-7f3a91",
        "saga",
        Status.ABORTING,
        create_time=begun,
        update_time=at("02:12:19"),
        next_cron_time=at("02:17:19"),
        next_cron_interval=300,
    )
    branches = (
        branch("01", Op.COMPENSATE, f"{LEDGER}/undo-withdraw"),
        branch("01", Op.ACTION, f"{LEDGER}/withdraw", begun),
        branch("02", Op.COMPENSATE, f"{LEDGER}/undo-deposit", at("23:43:03", 28)),
        branch("02", Op.ACTION, f"{LEDGER}/deposit", begun, status=BranchStatus.FAILED),
        branch("03", Op.COMPENSATE, f"{LEDGER}/undo-receipt"),
        branch("03", Op.ACTION, f"{LEDGER}/receipt"),
    )
    attempts = (
        attempt(
            *("02", Op.ACTION, 1, Kind.FAILURE, begun, begun, 1),
            result=Result.FAILURE,
            status=409,
            answer="account is closed",
            url=f"{LEDGER}/deposit",
        ),
        attempt(
            *("01", Op.COMPENSATE, 1, Kind.STATUS, at("23:43:03", 28), at("00:02:40"), 28),
            status=503,
            url=f"{LEDGER}/undo-withdraw",
        ),
        attempt(
            *("01", Op.COMPENSATE, 2, Kind.REFUSED, at("00:10:41"), at("02:12:19"), 29),
            url=f"{LEDGER}/undo-withdraw",
        ),
    )
    return explained(Rows(transaction, branches), attempts, NOW)


def long_saga(steps: int) -> Explained:
    """So many steps, of which three quarters are done; the next one hangs."""
    begun, done = at("02:00:00"), steps * 3 // 4
    transaction = Transaction(
        "long",
        "saga",
        Status.SUBMITTED,
        create_time=begun,
        update_time=at("02:13:00"),
        next_cron_time=at("02:14:30"),
        next_cron_interval=40,
    )
    branches: list[Branch] = []
    for step in range(steps):
        ended = begun + timedelta(seconds=step // 5) if step < done else None
        branches.append(branch(f"{step + 1:02d}", Op.COMPENSATE, f"{LEDGER}/undo{step}", create_time=begun))
        branches.append(branch(f"{step + 1:02d}", Op.ACTION, f"{LEDGER}/do{step}", ended, create_time=begun))
    hangs = attempt(f"{done + 1:02d}", Op.ACTION, 1, Kind.TIMEOUT, at("02:12:00"), at("02:13:00"), 3)
    return explained(Rows(transaction, tuple(branches)), [hangs], NOW)


_HOSTILE = (
    "<script>alert(1)</script>", "]]></svg><script>", '" onload="alert(1)', "a" * 100_000, "\x00\x1b[31m",
    "\u202eevil", "שלום עולם", "مرحبا", "\ud800", "\ufffe\uffff", "<!--", "&#x0;", "{0}{who}",
    "中文名称" * 40, "",
)  # fmt: skip
_OPS = {
    TransType.SAGA: (Op.COMPENSATE, Op.ACTION),
    TransType.MSG: (Op.ACTION,),
    TransType.TCC: (Op.CANCEL, Op.CONFIRM),
    TransType.XA: (Op.ROLLBACK, Op.COMMIT),
    TransType.WORKFLOW: (Op.ACTION,),
}
_CUSTOM = {TransType.WORKFLOW: '{"name":"transfer","data":"e30="}'}


def anything(seed: int, more_texts: Sequence[str]) -> Explained:
    """A transaction of any pattern at any point, with any texts and times in its rows."""
    dice, texts = Random(seed), [*_HOSTILE, *more_texts]
    trans_type = dice.choice(list(TransType))
    begun = NOW - timedelta(seconds=dice.choice([0, 1, 30, 4000, 90_000, 10**8]))

    def moment() -> datetime:
        return begun + timedelta(seconds=dice.randint(*dice.choice([(-5, 60), (0, 10**6)])))

    transaction = Transaction(
        dice.choice(texts),
        trans_type,
        dice.choice(list(Status)),
        options=Options(concurrent=dice.random() < 0.5),
        custom_data=_CUSTOM.get(trans_type, dice.choice(["", "", "{", '{"concurrent":true}'])),
        create_time=begun,
        update_time=moment(),
        next_cron_time=NOW + timedelta(seconds=dice.randint(-100, 10**6)),
        next_cron_interval=dice.randint(10, 300),
        query_prepared=f"{LEDGER}/{dice.choice(texts)}",
    )
    branches: list[Branch] = []
    attempts: list[Attempt] = []
    ids = [dice.choice([f"{step + 1:02d}", dice.choice(texts)]) for step in range(dice.randint(0, 7))]
    for branch_id in dict.fromkeys(ids):
        for op in _OPS[trans_type]:
            ended = dice.choice([None, moment()])
            status = BranchStatus.PREPARED if ended is None else dice.choice(list(BranchStatus)[1:])
            url = dice.choice(["", f"{LEDGER}/{dice.choice(texts)}"])
            branches.append(branch(branch_id, op, url, ended, status=status, create_time=begun))
            for number in range(1, dice.choice([1, 1, 2, 4, 21])):
                began = moment()
                last = began + timedelta(seconds=dice.randint(0, 1000))
                values = {
                    "result": dice.choice(list(Result)[1:]),
                    "answer": dice.choice(texts),
                    "url": url,
                    "status": dice.choice([None, 0, 14, 503, 999]),
                }
                times = dice.choice([1, 1, 2, 2**31 - 1])
                kind = dice.choice(list(Kind))
                attempts.append(attempt(branch_id, op, number, kind, began, last, times, **values))
    return explained(Rows(transaction, tuple(branches)), attempts, NOW)
