"""When to try again, and how long a driver holds a transaction (PROTOCOL §9). Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from coordinator.model import Options, Transaction, TransType, later

INTERVAL_MAX = 2**31 - 1  # seconds, column next_cron_interval
NEVER = timedelta(days=36_525)  # a saga that is only prepared waits for its client, however long
LEASE_BEYOND_CALL = 5  # seconds that a lease outlasts the longest single call


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
