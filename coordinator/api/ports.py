"""What the protocols in front ask of the rooms behind them; coordinator/service has it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from coordinator.model import BranchRequest, Transaction, TransactionRequest
from coordinator.store.base import Filter, KeyValue, Stored


class TransactionOperations(Protocol):
    """How a transaction begins, and how its client ends it. Each raises DtmError, and returns for success."""

    def new_gid(self) -> str:
        """A gid that nobody has."""
        ...

    async def submit(self, request: TransactionRequest) -> None:
        """Store the transaction and drive it; of a workflow: store how it ended."""
        ...

    async def prepare(self, request: TransactionRequest) -> None:
        """Store the transaction as prepared."""
        ...

    async def abort(self, request: TransactionRequest) -> None:
        """Roll a prepared transaction back."""
        ...


class BranchOperations(Protocol):
    """Branches that come while their transaction is prepared."""

    async def register(self, request: BranchRequest) -> None:
        """Add the rows of one branch."""
        ...


class WorkflowOperations(Protocol):
    """What a workflow's client needs to run on."""

    async def prepare(self, request: TransactionRequest) -> Stored:
        """Store the workflow, or find it; returns its progress."""
        ...


class TopicOperations(Protocol):
    """Who gets the messages of a topic."""

    async def subscribe(self, topic: str, url: str, remark: str) -> None:
        """Add a url."""
        ...

    async def unsubscribe(self, topic: str, url: str) -> None:
        """Take a url out."""
        ...

    async def delete(self, topic: str) -> None:
        """Forget the topic."""
        ...


class OperatorOperations(Protocol):
    """What people and consoles ask."""

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

    async def find_value(self, category: str, key: str) -> KeyValue | None:
        """One row of `kv`."""
        ...

    async def list_values(self, category: str, *, limit: int, before_id: int | None) -> Sequence[KeyValue]:
        """Rows of `kv`, newest first."""
        ...


class Operations(Protocol):
    """The operations of PROTOCOL §3 to §5, by subject."""

    @property
    def transactions(self) -> TransactionOperations:
        """Submit, prepare, abort."""
        ...

    @property
    def branches(self) -> BranchOperations:
        """Register."""
        ...

    @property
    def workflows(self) -> WorkflowOperations:
        """Prepare."""
        ...

    @property
    def topics(self) -> TopicOperations:
        """Subscribe, unsubscribe, delete."""
        ...

    @property
    def operators(self) -> OperatorOperations:
        """Query, stop, reset."""
        ...


class Readiness(Protocol):
    """Whether this coordinator can take work."""

    def problems(self) -> Mapping[str, str]:
        """What keeps it from being ready, by part (store, schema, recovery …); empty when it is ready."""
        ...
