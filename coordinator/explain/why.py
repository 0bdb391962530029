"""Why a transaction is where it is: one sentence, a code that keeps its meaning, what to do. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from coordinator.attempt import Attempt, Kind
from coordinator.backoff import Timing
from coordinator.explain.codes import CODES, Code
from coordinator.explain.forecast import all_succeed, forecast, taken_up_at, waits_for_submit
from coordinator.explain.play import Called, Rested, Rows, as_if_all_had_urls, first_calls
from coordinator.explain.sentences import FIRST, Sentence, Value, sentence, sentences
from coordinator.hold import Hold
from coordinator.model import (
    GRPC_REFUSALS,
    HTTP_REFUSALS,
    Branch,
    Op,
    Status,
    Transaction,
    TransType,
)
from coordinator.owner import SEPARATOR, is_a_drivers
from coordinator.patterns.workflow import asleep_until
from coordinator.results import plain_url

STOPPED: Final = "W42"  # by hand, so that not all may have been done or undone
CLOCK_SECONDS_MAX: Final = 3.0  # that clocks may be apart
_OVERDUE_SECONDS: Final = 5.0  # for which nobody need have looked
_GRPC_STATUS_MAX: Final = 16
_NO_SUCH_PATH: Final = (404, 405, 410, 5, 12)  # gRPC's NOT_FOUND, UNIMPLEMENTED


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside the rows. attempts: of this transaction. Times are aware.

    driver_seen: when the coordinator that owns the row was last seen; None: never. url_problem: why the next
    url may not be called, of one that never can be. hold, is_full: of the endpoint of the next call.
    """

    now: datetime
    attempts: Sequence[Attempt] = ()
    driver_is_alive: bool = False
    driver_seen: datetime | None = None
    url_problem: str = ""
    hold: Hold | None = None
    is_full: bool = False
    clocks_apart: float = 0.0  # seconds, of database and coordinator


@dataclass(frozen=True, slots=True)
class Why:
    """The answer. said: without the code. attempt: that it speaks of."""

    code: Code
    said: Sentence
    gid: str
    attempt: Attempt | None = None

    @property
    def sentence(self) -> str:
        """In English."""
        return self.said.told()

    @property
    def what_to_do(self) -> str:
        """In English, with the gid in its place."""
        return self.advice()

    def advice(self, language: str = FIRST) -> str:
        """What to do, in that language."""
        return self.code.advice(language).replace("GID", self.gid)


def why(timing: Timing, rows: Rows, facts: Facts) -> Why:
    """Why the transaction is where it is, as far as these facts tell."""
    transaction = rows.transaction
    if transaction.status.is_final:
        return _ended(timing, rows, facts.now)
    is_owned = is_a_drivers(transaction.owner)
    if is_owned and not facts.driver_is_alive:
        return _said(rows, "W02", _leased(transaction, facts))
    start = taken_up_at(transaction, facts.now, is_driven=is_owned)
    try:
        calls = None if start is None else first_calls(timing, rows, start=facts.now)
    except ValueError as error:
        return _said(rows, "W33", sentence("no_rule", error=str(error)))
    if waits_for_submit(transaction):
        return _said(rows, "W04", sentence("not_submitted"))
    if isinstance(calls, Rested):
        return _waits(rows, calls)
    if not is_owned and (until := _sleeps(rows, facts.now)) is not None:
        return _said(rows, "W03", sentence("sleeps", until=until))
    branch = calls[0].branch if isinstance(calls, tuple) else None
    attempt = _latest(facts.attempts, calls) if isinstance(calls, tuple) else None
    if branch is not None and facts.url_problem:
        code = "W32" if attempt is None or attempt.kind is not Kind.URL else "W34"
        return _said(
            rows,
            code,
            sentence("url_problem", branch=_named(rows, branch), problem=facts.url_problem),
            attempt,
        )
    if branch is not None and facts.hold is not None:
        return _said(rows, "W06", _held(_named(rows, branch), facts.hold), attempt)
    if branch is not None and attempt is not None:
        return _failing(rows, branch, attempt, is_owned=is_owned)
    if is_owned:
        return _said(rows, "W01", sentence("driven", who=_instance(transaction)))
    if branch is not None and facts.is_full:
        return _said(
            rows,
            "W05",
            sentence("full", branch=_named(rows, branch), where=_place(branch.url)),
        )
    return _due(rows, facts)


def _ended(timing: Timing, rows: Rows, now: datetime) -> Why:
    transaction = rows.transaction
    at = transaction.finish_time or transaction.rollback_time or transaction.update_time
    if transaction.status is Status.SUCCEED:
        return _said(rows, "W40", sentence("succeeded", at=at))
    if _is_half_done(timing, rows, now):
        return _said(rows, STOPPED, sentence("stopped", at=at))
    because = _because(transaction.rollback_reason)
    return _said(rows, "W41", sentence("rolled_back", at=at, because=because))


def _is_half_done(timing: Timing, rows: Rows, now: datetime) -> bool:
    """Whether a roll-back would still have something to call, so that it did not come to its end."""
    transaction = rows.transaction
    if transaction.trans_type not in (TransType.SAGA, TransType.TCC, TransType.XA):
        return False
    aborting = Rows(replace(transaction, status=Status.ABORTING, next_cron_time=now), rows.branches)
    return bool(forecast(timing, as_if_all_had_urls(aborting), all_succeed(), now=now).calls)


def _leased(transaction: Transaction, facts: Facts) -> Sentence:
    last, until = facts.driver_seen, transaction.next_cron_time
    seen = sentence("never_seen") if last is None else sentence("not_seen_since", time=last)
    key = "leased" if until > facts.now else "leased_till_past"
    return sentence(key, until=until, who=_instance(transaction), seen=seen)


def _waits(rows: Rows, rest: Rested) -> Why:
    """It has nothing to do before a time."""
    transaction = rows.transaction
    if transaction.status is Status.SUBMITTED:
        return _said(rows, "W03", sentence("delay", until=rest.until))
    then = "sender_is_asked" if transaction.trans_type == TransType.MSG else "client_is_at_work"
    return _said(rows, "W04", sentence(then, until=rest.until))


def _sleeps(rows: Rows, now: datetime) -> datetime | None:
    """Until when a workflow sleeps; None where it does not, or is called back before for another reason."""
    transaction = rows.transaction
    until = asleep_until(rows.branches, now) if transaction.trans_type == TransType.WORKFLOW else None
    if until is None or transaction.next_cron_time < until:
        return None
    return until


def _latest(attempts: Sequence[Attempt], calls: Sequence[Called]) -> Attempt | None:
    """The latest of those who are called next."""
    keys = {call.branch.key for call in calls}
    found = [attempt for attempt in attempts if (attempt.branch_id, attempt.op) in keys]
    return max(found, key=lambda attempt: (attempt.last, attempt.number), default=None)


def _failing(rows: Rows, branch: Branch, attempt: Attempt, *, is_owned: bool) -> Why:
    if attempt.kind is Kind.STOPPING:
        return _said(rows, "W08", sentence("goes_on", at=rows.transaction.next_cron_time), attempt)
    code, what = _cause(attempt)
    values: dict[str, Value] = {
        "branch": _named(rows, _branch_of(rows, attempt) or branch),
        "what": what,
        "times": sentence("times", count=attempt.times) if attempt.times > 1 else "",
        "began": attempt.began,
    }
    if is_owned:
        return _said(rows, code, Sentence("fails_now", values), attempt)
    at = rows.transaction.next_cron_time
    return _said(rows, code, Sentence("fails", {**values, "at": at}), attempt)


def _branch_of(rows: Rows, attempt: Attempt) -> Branch | None:
    key = (attempt.branch_id, attempt.op)
    return next((branch for branch in rows.branches if branch.key == key), None)


def code_of(kind: Kind, status: int | None) -> str:
    """The code of a call that gave no success. status: HTTP's or gRPC's, where the branch spoke."""
    if kind is Kind.STATUS and status is not None:
        return _code_of_status(status)
    return _CODES.get(kind, "W19")


_CODES: Final = {
    Kind.FAILURE: "W22",
    Kind.ONGOING: "W21",
    Kind.TIMEOUT: "W12",
    Kind.REFUSED: "W11",
    Kind.DNS: "W16",
    Kind.TLS: "W13",
    Kind.PLACE: "W32",
    Kind.BROKEN: "W19",
    Kind.URL: "W34",
    Kind.FULL: "W05",
    Kind.STOPPING: "W08",
}


def _code_of_status(status: int) -> str:
    if status in _NO_SUCH_PATH:
        return "W14"
    if status in (HTTP_REFUSALS if status > _GRPC_STATUS_MAX else GRPC_REFUSALS):
        return "W17"
    return "W18" if _GRPC_STATUS_MAX < status < 400 else "W15"


def _cause(attempt: Attempt) -> tuple[str, Sentence]:
    code = code_of(attempt.kind, attempt.status)
    key = f"cause_{code}"
    values: dict[str, Value] = {
        "where": attempt.endpoint or _place(attempt.url) or sentence("it"),
        "status": str(attempt.status),
        "said": sentence("said", answer=_short(attempt.answer)) if attempt.answer else "",
        "seconds": f"{attempt.seconds:.0f}",
    }
    return code, Sentence(key if key in sentences() else "cause_W19", values)


def _due(rows: Rows, facts: Facts) -> Why:
    transaction = rows.transaction
    overdue = (facts.now - transaction.next_cron_time).total_seconds()
    due = transaction.next_cron_time
    if facts.clocks_apart > CLOCK_SECONDS_MAX:
        return _said(rows, "W31", sentence("clocks", due=due, seconds=f"{facts.clocks_apart:.0f}"))
    if overdue > _OVERDUE_SECONDS:
        return _said(rows, "W07", sentence("overdue", due=due))
    if transaction.trans_type == TransType.WORKFLOW:
        return _said(rows, "W04", sentence("client_runs", due=due))
    return _said(rows, "W08", sentence("goes_on", at=due))


def _said(rows: Rows, code: str, said: Sentence, attempt: Attempt | None = None) -> Why:
    return Why(CODES[code], said, rows.transaction.gid, attempt)


def _named(rows: Rows, branch: Branch) -> Sentence:
    """Who is called, at the beginning of a sentence."""
    trans_type = rows.transaction.trans_type
    if trans_type == TransType.WORKFLOW:
        return sentence("of_call_back")
    if branch.op == Op.MSG:
        return sentence("of_question")
    return sentence("of_branch", op=branch.op, branch_id=branch.branch_id)


def _held(branch: Sentence, hold: Hold) -> Sentence:
    because = _because(_short(hold.reason))
    return sentence(
        "held", branch=branch, endpoint=hold.endpoint, until=hold.until, who=hold.who, because=because
    )


def _because(reason: str) -> Value:
    return sentence("because", reason=reason) if reason else ""


def _place(url: str) -> str:
    """Host and port of a url, without a login; as much as can be read."""
    url = plain_url(url)
    try:
        return urlsplit(url if "://" in url else f"//{url}").netloc.rpartition("@")[2]
    except ValueError:
        return ""


def _instance(transaction: Transaction) -> str:
    return transaction.owner.rsplit(SEPARATOR, 2)[0]


def _short(answer: str) -> str:
    line = " ".join(answer.split())
    return line if len(line) <= 120 else f"{line[:119]}…"
