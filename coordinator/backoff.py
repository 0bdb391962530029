"""When to try again, how often it failed, how long a driver holds a transaction (PROTOCOL §9). Pure.

What must outlive a coordinator stands in the row, in ext_data: how many rounds have failed in a row, and that
an alert was given. A Go server that shares the database passes over keys that it does not know (see
telemetry.trace_context).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import orjson

from coordinator.attempt import NO_NOTES, has_notes, kept_in, with_notes
from coordinator.model import Options, Transaction, TransType, later

INTERVAL_MAX = 2**31 - 1  # seconds, column next_cron_interval
NEVER = timedelta(days=36_525)  # a saga that is only prepared waits for its client, however long
LEASE_BEYOND_CALL = 5  # seconds that a lease outlasts the longest single call

_ALERTED: Final = "alerted"
_MARKED: Final = f'"{_ALERTED}":true'
_FAILED_ROUNDS: Final = "failed_rounds"
_FAILED_ROUNDS_MAX: Final = 2**31 - 1  # any number may stand in a row


@dataclass(frozen=True, slots=True)
class Timing:
    """The coordinator's own figures, used where a transaction brings none. Seconds."""

    request_timeout: int = 3  # one branch call
    retry_interval: int = 10  # first back-off, and the shortest lease
    retry_interval_max: int = 300  # cap of the doubling
    timeout_to_fail: int = 35  # until a prepared transaction is given up, or its sender asked
    alert_retry_limit: int = 3  # failed rounds before an alert; the cap never cuts below it

    # What clients may ask for; a stored row that asks for more, since it is older, is driven with this.
    request_timeout_max: int = 300  # never below request_timeout
    option_seconds_max: int = 31_536_000  # timeout_to_fail, retry_interval, a message's delay

    @property
    def longest_call(self) -> int:
        """Seconds that a client may ask for as request_timeout."""
        return max(self.request_timeout_max, self.request_timeout)

    def call_timeout(self, options: Options) -> int:
        """Seconds that one branch call of this transaction may take."""
        return min(options.request_timeout, self.longest_call) or self.request_timeout

    def lease(self, options: Options) -> int:
        """Seconds that a driver holds this transaction before another may claim it."""
        return max(self.retry_interval, self.call_timeout(options) + LEASE_BEYOND_CALL)

    def first_interval(self, options: Options) -> int:
        """Seconds of back-off before anything went wrong."""
        if options.retry_interval > 0:
            return min(options.retry_interval, self.option_seconds_max)
        if 0 < options.timeout_to_fail < self.retry_interval:
            return options.timeout_to_fail
        return self.retry_interval

    def doubled(self, interval: int, options: Options) -> int:
        """The interval after a round with an unknown result, seconds."""
        alerting = self.first_interval(options) << min(self.alert_retry_limit, 31)
        cap = min(max(self.retry_interval_max, alerting), INTERVAL_MAX)
        return max(interval, min(interval * 2, cap))

    def failures(self, interval: int, options: Options) -> int:
        """How many rounds in a row have failed, read off the interval that they doubled (PROTOCOL §9)."""
        return max(0, (interval // self.first_interval(options)).bit_length() - 1)

    def is_alarming(self, failures: int) -> bool:
        """True when so many failed rounds are reported."""
        return failures >= max(self.alert_retry_limit, 1)

    def first_look(self, trans_type: str, options: Options, now: datetime) -> datetime:
        """next_cron_time of what is prepared now: when its client has had long enough (PROTOCOL §7, §8)."""
        if trans_type == TransType.SAGA:
            return now + NEVER
        if trans_type == TransType.WORKFLOW:
            seconds = self.first_interval(options)
        else:
            seconds = options.timeout_to_fail or self.timeout_to_fail
        return later(now, seconds)

    def lease_end(self, options: Options, now: datetime) -> datetime:
        """next_cron_time while a driver holds a transaction with these options."""
        return later(now, self.lease(options))

    def deferred_until(self, transaction: Transaction, seconds: float, now: datetime) -> datetime:
        """next_cron_time of one that found no place at its endpoint: not later than its own time limit."""
        until = later(now, seconds)
        limit = self.fails_at(transaction, now)
        return until if limit is None else min(until, limit)

    def fails_at(self, transaction: Transaction, now: datetime) -> datetime | None:
        """When its own time limit is reached; None without one, or when that is past."""
        limit = later(transaction.create_time, transaction.options.timeout_to_fail)
        return limit if limit > now else None


def after_round(timing: Timing, transaction: Transaction, *, succeeded: bool, unknown: bool) -> int:
    """The back-off, seconds, after a round that must wait.

    succeeded: a branch gave success, which takes back an earlier doubling. unknown: one gave
    no result (ONGOING, which keeps the interval, aside): doubled once, however many did. A row of another
    program may have no interval: without one it would be due again at once, for ever.
    """
    interval = 0 if succeeded else transaction.next_cron_interval
    if interval <= 0:
        interval = timing.first_interval(transaction.options)
    return timing.doubled(interval, transaction.options) if unknown else interval


@dataclass(frozen=True, slots=True)
class Pause:
    """What a round leaves behind that must wait: the back-off, seconds, and the failed rounds in a row."""

    interval: int
    failed_rounds: int


def pause_after(
    timing: Timing,
    transaction: Transaction,
    *,
    failed_before: int,
    succeeded: bool,
    unknown: bool,
    doubles: bool,
) -> Pause:
    """The back-off after a round that must wait, and how many have failed in a row, this one with them.

    failed_before: of ext_data. succeeded, unknown: as after_round's. doubles: of the pattern's Wait; without
    it the pace stays as it is, RetryInterval unless it has backed off, and nothing counts as unknown.
    """
    interval = timing.retry_interval
    if doubles or failed_before:
        interval = after_round(timing, transaction, succeeded=succeeded, unknown=unknown)
    before = 0 if succeeded else failed_before
    # A workflow's pace does not begin at its first interval, which could tell what nobody has counted.
    if not unknown or transaction.trans_type == TransType.WORKFLOW:
        return Pause(interval, before + unknown)
    return Pause(interval, max(before + 1, timing.failures(interval, transaction.options)))


def is_marked(ext_data: str) -> bool:
    """Whether an alert was given of the transaction that has this ext_data."""
    return _MARKED in ext_data


def failed_rounds(ext_data: str) -> int:
    """How many rounds in a row have failed, as far as this ext_data tells."""
    if _FAILED_ROUNDS not in ext_data:
        return 0
    count = (kept_in(ext_data) or {}).get(_FAILED_ROUNDS)
    return min(count, _FAILED_ROUNDS_MAX) if type(count) is int and count > 0 else 0


def noted(ext_data: str, *, failed: int, alerted: bool) -> str:
    """The same ext_data with so many failed rounds, and that an alert was given where it was.

    Unchanged when another program wrote what is no JSON object.
    """
    found = kept_in(ext_data)
    if found is None:
        return ext_data
    kept = {name: value for name, value in found.items() if name != _FAILED_ROUNDS}
    if failed:
        kept[_FAILED_ROUNDS] = failed
    if alerted:
        kept[_ALERTED] = True
    return orjson.dumps(kept).decode() if kept else ""


def without_notes(ext_data: str) -> str:
    """The same ext_data as clients know it, who are not told how often something failed, and what."""
    if has_notes(ext_data):
        ext_data = with_notes(ext_data, NO_NOTES)
    if _FAILED_ROUNDS not in ext_data and not is_marked(ext_data):
        return ext_data
    found = kept_in(ext_data)
    if found is None:
        return ext_data
    kept = {name: value for name, value in found.items() if name not in (_FAILED_ROUNDS, _ALERTED)}
    return orjson.dumps(kept).decode() if kept else ""
