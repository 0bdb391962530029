"""What the protocols in front ask of the rooms behind them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from coordinator.model import Transaction, TransactionRequest
from coordinator.store.base import Filter, Stored


class Operations(Protocol):
    """The operations of PROTOCOL §5, as coordinator/service.py has them.

    Each raises DtmError, and returns for success.
    """

    def new_gid(self) -> str:
        """A gid that nobody has."""
        ...

    async def submit(self, request: TransactionRequest) -> None:
        """Store the transaction and drive it."""
        ...

    async def prepare(self, request: TransactionRequest) -> None:
        """Store the transaction as prepared."""
        ...

    async def abort(self, request: TransactionRequest) -> None:
        """Roll a prepared transaction back."""
        ...

    async def query(self, gid: str) -> Stored | None:
        """The stored rows; raises Invalid for an empty gid."""
        ...

    async def all(self, wanted: Filter) -> Sequence[Transaction]:
        """Transactions, newest first."""
        ...

    async def force_stop(self, gid: str) -> None:
        """Let nothing more be called for it."""
        ...

    async def reset_next_cron_time(self, gid: str) -> None:
        """Make it due now."""
        ...

    async def reset_cron_time(self, *, timeout: float | None, limit: int) -> tuple[int, bool]:
        """Make due what waits longer than `timeout` seconds (None: the default).

        Returns how many, and whether there are more.
        """
        ...


class Readiness(Protocol):
    """Whether this coordinator can take work."""

    def problems(self) -> Mapping[str, str]:
        """What keeps it from being ready, by part (store, schema, recovery …); empty when it is ready."""
        ...
