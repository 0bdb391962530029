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
    """The answer. sentence: without the code. what_to_do: with the gid in its place."""

    code: Code
    sentence: str
    what_to_do: str
    attempt: Attempt | None = None  # that it speaks of


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
        return _said(rows, "W33", f"No rule explains its rows: {error}.")
    if waits_for_submit(transaction):
        return _said(rows, "W04", "Its client has prepared it and not submitted it: nobody drives it before.")
    if isinstance(calls, Rested):
        return _waits(rows, calls)
    if not is_owned and (until := _sleeps(rows, facts.now)) is not None:
        return _said(rows, "W03", f"It sleeps until {_time(until)}: its client is called back then.")
    branch = calls[0].branch if isinstance(calls, tuple) else None
    attempt = _latest(facts.attempts, calls) if isinstance(calls, tuple) else None
    if branch is not None and facts.url_problem:
        code = "W32" if attempt is None or attempt.kind is not Kind.URL else "W34"
        return _said(
            rows, code, f"{_named(rows, branch)} is never called: its url {facts.url_problem}.", attempt
        )
    if branch is not None and facts.hold is not None:
        return _said(rows, "W06", f"{_named(rows, branch)} is not called: {_held(facts.hold)}.", attempt)
    if branch is not None and attempt is not None:
        return _failing(rows, branch, attempt, is_owned=is_owned)
    if is_owned:
        return _said(rows, "W01", f"It is driven just now, by {_instance(transaction)}.")
    if branch is not None and facts.is_full:
        return _said(
            rows,
            "W05",
            f"{_named(rows, branch)} waits for a place: {_place(branch.url)} has its fill of calls.",
        )
    return _due(rows, facts)


def _ended(timing: Timing, rows: Rows, now: datetime) -> Why:
    transaction = rows.transaction
    at = transaction.finish_time or transaction.rollback_time or transaction.update_time
    if transaction.status is Status.SUCCEED:
        return _said(rows, "W40", f"It has succeeded, at {_time(at)}.")
    if _is_half_done(timing, rows, now):
        return _said(rows, STOPPED, f"It was stopped at {_time(at)}: nothing was called after that.")
    because = f": {transaction.rollback_reason}" if transaction.rollback_reason else ""
    return _said(rows, "W41", f"It was rolled back, at {_time(at)}{because}.")


def _is_half_done(timing: Timing, rows: Rows, now: datetime) -> bool:
    """Whether a roll-back would still have something to call, so that it did not come to its end."""
    transaction = rows.transaction
    if transaction.trans_type not in (TransType.SAGA, TransType.TCC, TransType.XA):
        return False
    aborting = Rows(replace(transaction, status=Status.ABORTING, next_cron_time=now), rows.branches)
    return bool(forecast(timing, as_if_all_had_urls(aborting), all_succeed(), now=now).calls)


def _leased(transaction: Transaction, facts: Facts) -> str:
    seen = "was never seen" if facts.driver_seen is None else f"is not seen since {_time(facts.driver_seen)}"
    until = transaction.next_cron_time
    when = f"until {_time(until)}" if until > facts.now else f"until {_time(until)}, which is over"
    return f"It is leased {when} by {_instance(transaction)}, which {seen}."


def _waits(rows: Rows, rest: Rested) -> Why:
    """It has nothing to do before a time."""
    transaction, until = rows.transaction, _time(rest.until)
    if transaction.status is Status.SUBMITTED:
        return _said(rows, "W03", f"It waits for its delay: nothing is called before {until}.")
    then = "its sender is asked" if transaction.trans_type == TransType.MSG else "it is rolled back"
    return _said(rows, "W04", f"Its client is at work: if it does not submit, {then} at {until}.")


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
        return _said(rows, "W08", f"It goes on at {_time(rows.transaction.next_cron_time)}.", attempt)
    code, what = _cause(attempt)
    times = f", {attempt.times} times" if attempt.times > 1 else ""
    since = f" since {_time(attempt.began)}"
    following = (
        "it is called again just now" if is_owned else f"next at {_time(rows.transaction.next_cron_time)}"
    )
    tried = _branch_of(rows, attempt) or branch
    return _said(
        rows, code, f"{_named(rows, tried)} does not succeed: {what}{times}{since}; {following}.", attempt
    )


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


def _cause(attempt: Attempt) -> tuple[str, str]:
    code = code_of(attempt.kind, attempt.status)
    where = attempt.endpoint or _place(attempt.url) or "it"
    answered = f"{where} answers {attempt.status}"
    said = f" ({_short(attempt.answer)})" if attempt.answer else ""
    return code, {
        "W05": f"there was no connection free for {where}",
        "W11": f"{where} refuses connections",
        "W12": f"{where} gave no answer within {attempt.seconds:.0f} s",
        "W13": f"{where} and TLS do not agree{said}",
        "W14": f"{answered}, no such path",
        "W15": f"{answered}{said}",
        "W16": f"the name of {where} leads nowhere{said}",
        "W17": f"{answered}: it refuses the request itself{said}",
        "W18": f"{answered}, which is no success{said}",
        "W21": f"{where} says ONGOING, not finished yet",
        "W22": f"{where} says FAILURE{said}, which rolls nothing back here",
        "W32": f"{where} may not be called{said}",
        "W34": f"it cannot be sent{said}",
    }.get(code, f"the answer of {where} broke off{said}")


def _due(rows: Rows, facts: Facts) -> Why:
    transaction = rows.transaction
    overdue = (facts.now - transaction.next_cron_time).total_seconds()
    due = _time(transaction.next_cron_time)
    if facts.clocks_apart > CLOCK_SECONDS_MAX:
        apart = f"the clocks of database and coordinator are {facts.clocks_apart:.0f} s apart"
        return _said(rows, "W31", f"It is due at {due}, but {apart}.")
    if overdue > _OVERDUE_SECONDS:
        return _said(rows, "W07", f"It is due since {due}, and no coordinator has taken it up.")
    if transaction.trans_type == TransType.WORKFLOW:
        return _said(
            rows, "W04", f"Its client runs it, and is called back at {due} if it has not ended by then."
        )
    return _said(rows, "W08", f"It goes on at {due}.")


def _said(rows: Rows, code: str, sentence: str, attempt: Attempt | None = None) -> Why:
    found = CODES[code]
    return Why(found, sentence, found.what_to_do.replace("GID", rows.transaction.gid), attempt)


def _named(rows: Rows, branch: Branch) -> str:
    """Who is called, at the beginning of a sentence."""
    trans_type = rows.transaction.trans_type
    if trans_type == TransType.WORKFLOW:
        return "The call back of its client"
    if branch.op == Op.MSG:
        return "The question to its sender"
    return f"The {branch.op} of {branch.branch_id}"


def _held(hold: Hold) -> str:
    because = f": {_short(hold.reason)}" if hold.reason else ""
    return f"{hold.endpoint} is held until {_time(hold.until)} by {hold.who}{because}"


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


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
