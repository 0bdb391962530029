"""What goes wrong in a round, on its way into `dtm_attempt` and `dtm_stuck`: in the round's own commits.

Nothing is read for it: which attempt of a branch it is, and whether it went as the one before, stands in the
transaction's ext_data, which a round that fails writes anyhow. A round that goes well makes nothing of this.
"""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Protocol

from coordinator.attempt import (
    ANSWER_BYTES_MAX,
    Attempt,
    Kind,
    Notes,
    Stuck,
    Tried,
    after,
    fingerprint,
    has_notes,
    is_beyond_memory,
    notes_of,
    place_of,
    remembered,
    takes_notes,
    with_notes,
)
from coordinator.calls.answers import said
from coordinator.calls.base import Answer
from coordinator.discovery.logins import shown_url
from coordinator.engine.endpoint import name_of
from coordinator.model import Branch, BranchKey, Status, Transaction
from coordinator.results import plain_url
from coordinator.store.attempt_rows import attempt_row, not_stuck, stuck_row
from coordinator.store.base import Change
from coordinator.store.limits import TEXT_MAX
from coordinator.store.own_rows import OwnWrite
from coordinator.telemetry.shown import shown

_URLS_REMEMBERED_MAX: Final = 1024
_ANSWERS_REMEMBERED_MAX: Final = 256  # a service that fails says the same to each transaction
_SHORT: Final = 512  # characters
_LOOKED_AT: Final = 8 * ANSWER_BYTES_MAX  # characters of an answer: a secret becomes shorter
_DIGEST: Final = 8  # hexadecimal digits


@dataclass(frozen=True, slots=True)
class FailedCall:
    """A call that gave no success. ended: aware. seconds: that it took."""

    branch: Branch
    answer: Answer
    endpoint: str
    ended: datetime
    seconds: float


class RoundNotes(Protocol):
    """What one round has to tell of what went wrong in it."""

    def failed(self, transaction: Transaction, call: FailedCall, *, again: bool) -> None:
        """Take note of a call. again: whether the branch will be called again."""
        ...

    def taken(
        self, transaction: Transaction, change: Change, held_up: Collection[BranchKey] | None
    ) -> Change:
        """The change with what is written along with it, and with what the transaction has to remember.

        held_up: the branches that the round ends without a result of; None: it does not end, or says nothing.
        """
        ...


class Keeping(Protocol):
    """Who makes such notes."""

    def notes(self) -> RoundNotes:
        """For one round."""
        ...


class Kept:
    """hidden: without secrets. coordinator: the instance's name."""

    def __init__(self, hidden: Callable[[str], str], coordinator: str) -> None:
        self._texts = _Texts(hidden)
        self._coordinator = coordinator

    def notes(self) -> RoundNotes:
        """See Keeping."""
        return _Notes(self._texts, self._coordinator)


class NotKept:
    """There are no tables for it."""

    def notes(self) -> RoundNotes:
        """See Keeping."""
        return self

    def failed(self, transaction: Transaction, call: FailedCall, *, again: bool) -> None:
        """See RoundNotes."""

    def taken(
        self, transaction: Transaction, change: Change, held_up: Collection[BranchKey] | None
    ) -> Change:
        """See RoundNotes."""
        return change


class _Texts:
    """Strangers' texts as they are kept: without secrets, and what a terminal would obey."""

    def __init__(self, hidden: Callable[[str], str]) -> None:
        self._hidden = hidden
        self.url = lru_cache(_URLS_REMEMBERED_MAX)(self._url)
        self._short = lru_cache(_ANSWERS_REMEMBERED_MAX)(self._answer)
        self._alike = lru_cache(_ANSWERS_REMEMBERED_MAX)(fingerprint)

    def _url(self, url: str) -> str:
        return shown(self._hidden(shown_url(url)))[:TEXT_MAX]

    def answer(self, text: str) -> str:
        """The beginning of it."""
        return self._short(text) if len(text) <= _SHORT else self._answer(text)

    def alike(self, answer: Answer, text: str, gid: str) -> str:
        """Its fingerprint; gid: of the transaction, which an answer seldom names."""
        if gid in text or len(text) > _SHORT:
            return fingerprint(answer.kind, answer.status, text, gid)
        return self._alike(answer.kind, answer.status, text, "")

    def _answer(self, text: str) -> str:
        hidden = self._hidden(text[:_LOOKED_AT])
        if len(hidden) <= ANSWER_BYTES_MAX and hidden.isascii() and hidden.isprintable():
            return hidden
        lines = map(shown, hidden.splitlines())
        return "\n".join(lines).encode()[:ANSWER_BYTES_MAX].decode(errors="ignore")


class _Notes:
    def __init__(self, texts: _Texts, coordinator: str) -> None:
        self._texts = texts
        self._coordinator = coordinator
        self._tried: dict[BranchKey, Tried] = {}
        self._waiting: dict[tuple[BranchKey, int], Attempt] = {}  # by place, so that it is bounded
        self._latest: dict[BranchKey, Attempt] = {}

    def failed(self, transaction: Transaction, call: FailedCall, *, again: bool) -> None:
        if call.answer.kind is Kind.STOPPING:
            return
        key = call.branch.key
        before = self._tried.get(key) or notes_of(transaction.ext_data).tried.get(key)
        text = self._texts.answer(said(call.answer))
        alike = self._texts.alike(call.answer, text, transaction.gid)
        now = call.ended.timestamp()
        tried, is_written = after(before, digest(alike), round(now - call.seconds), round(now))
        attempt = self._attempt(call, tried, text, alike)
        self._latest[key] = attempt
        if again:
            self._tried.pop(key, None)  # the latest last
            self._tried[key] = tried
        if is_written:
            self._waiting[key, attempt.place] = attempt

    def taken(
        self, transaction: Transaction, change: Change, held_up: Collection[BranchKey] | None
    ) -> Change:
        assign = change.assign
        ext_data = transaction.ext_data if assign.ext_data is None else assign.ext_data
        if not (self._waiting or self._tried or held_up or has_notes(ext_data)):
            return change
        before = notes = notes_of(ext_data)
        if is_beyond_memory(before.tried, self._tried):  # what is not remembered would be told anew each time
            unknown = self._tried.keys() - before.tried.keys()
            self._waiting = {at: it for at, it in self._waiting.items() if at[0] not in unknown}
        rows: list[OwnWrite] = [attempt_row(attempt) for attempt in self._waiting.values()]
        if self._tried:
            notes = replace(before, tried=remembered(before.tried, self._tried))
        status = transaction.status if assign.status is None else assign.status
        # What could not be remembered would never be taken back.
        if (status.is_final or held_up is not None) and takes_notes(ext_data):
            notes, more = self._judged(transaction, status, notes, held_up or ())
            rows += more
        self._waiting.clear()
        self._tried.clear()
        if notes is not before and notes != before:
            assign = replace(assign, ext_data=with_notes(ext_data, notes))
        return replace(change, assign=assign, own_rows=(*change.own_rows, *rows))

    def _judged(
        self, transaction: Transaction, status: Status, notes: Notes, held_up: Collection[BranchKey]
    ) -> tuple[Notes, list[OwnWrite]]:
        """What its row in `dtm_stuck` should say, and what makes it say so. status: from now on."""
        failing = [self._latest[key] for key in sorted(held_up) if key in self._latest]
        if status.is_final or not failing:
            if not notes.since:
                return notes, []
            return replace(notes, since=0, cause=""), [not_stuck(transaction.gid)]
        attempt = max(failing, key=lambda it: it.times)
        is_known = notes.cause in [_cause(status, it) for it in failing]
        # Where two errors take turns, neither is written each time: what repeats itself is the cause.
        if notes.since and (is_known or (attempt.times == 1 and attempt.number > 1)):
            return notes, []
        key, now = (attempt.branch_id, attempt.op), round(attempt.last.timestamp())
        if tried := notes.tried.get(key):
            if notes.since and not tried.rows_free(now):
                return notes, []
            notes = replace(notes, tried={**notes.tried, key: tried.with_row(now)})
        since = notes.since or round(min(it.began for it in failing).timestamp())
        stuck = Stuck(
            transaction.gid,
            transaction.trans_type,
            status,
            attempt.branch_id,
            attempt.op,
            attempt.endpoint,
            attempt.kind,
            attempt.fingerprint,
            attempt.answer[:TEXT_MAX],
            self._coordinator,
            datetime.fromtimestamp(since, UTC),
        )
        return replace(notes, since=since, cause=_cause(status, attempt)), [stuck_row(stuck)]

    def _attempt(self, call: FailedCall, tried: Tried, text: str, alike: str) -> Attempt:
        branch, answer = call.branch, call.answer
        began = call.ended - timedelta(seconds=call.seconds)
        if tried.times > 1:
            began = datetime.fromtimestamp(tried.began, UTC)
        return Attempt(
            branch.gid,
            branch.branch_id,
            branch.op,
            place_of(tried.number),
            tried.number,
            answer.result,
            answer.kind,
            answer.status if answer.cause is None else answer.http_status,
            self._texts.url(plain_url(branch.url)),
            name_of(call.endpoint),
            text,
            alike,
            self._coordinator,
            began,
            call.ended,
            call.seconds,
            tried.times,
        )


def digest(fingerprint: str) -> str:
    """What is enough of it to tell whether an error is the one of before."""
    return hashlib.blake2s(fingerprint.encode(), digest_size=_DIGEST // 2).hexdigest()


def _cause(status: Status, attempt: Attempt) -> str:
    return digest(f"{status}/{attempt.branch_id}/{attempt.op}/{attempt.fingerprint}")
