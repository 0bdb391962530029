"""The network in one page: what the client asks of HTTP and gRPC alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from coordinator.client.transport.step_results import Results
from coordinator.discovery.logins import split_login
from coordinator.model import BranchStatus, Place, Status, Step, TransactionRequest, TransType

DEFAULT_HTTP_PORT = 36789
DEFAULT_GRPC_PORT = 36790
WAKE_AFTER: Final = "wake_after"  # of a workflow's branch: seconds until it is called back

# Once their submit is taken they never roll back (PROTOCOL §7, §8).
ONLY_FORWARD: Final = (TransType.TCC, TransType.XA, TransType.MSG)


def own_features(request: TransactionRequest) -> Sequence[str]:
    """Return what a request asks for that only our own server knows (coordinator.model.OWN_FEATURES)."""
    asked = []
    if request.options.failure_statuses:
        asked.append("failure_statuses")
    if any(step.headers for step in request.steps):
        asked.append("step_headers")
    if any(_has_results(step) for step in request.steps):
        asked.append("step_results")
    return asked


def _has_results(step: Step) -> bool:
    return step.keep_result or bool(step.from_results) or step.compensate_payload is not None


def own_features_of_branch(registration: "BranchRegistration") -> Sequence[str]:
    """The same of a branch that is registered."""
    return ("workflow_sleep",) if WAKE_AFTER in registration.data else ()


def step_fields(step: Step, trans_type: str) -> dict[str, Any]:
    """Return a step as JSON writes it."""
    fields: dict[str, Any] = {"action": step.action}
    if trans_type != TransType.MSG:
        fields["compensate"] = step.compensate
    if step.headers:
        fields["headers"] = dict(step.headers)
    if step.keep_result:
        fields["keep_result"] = True
    if step.from_results:
        fields["from_results"] = _places(step.from_results)
    if step.compensate_payload is not None:
        fields["compensate_payload"] = step.compensate_payload.decode()
        fields["compensate_from_results"] = _places(step.compensate_from_results)
    return fields


def _places(places: Sequence[Place]) -> list[dict[str, Any]]:
    return [{"at": it.at, "step": it.step, "path": it.path} for it in places]


@dataclass(frozen=True, slots=True)
class ListFilter:
    """What `list` asks for; empty, 0 and "" mean any. Times are milliseconds since 1970."""

    status: str = ""
    trans_type: str = ""
    create_time_start: int = 0
    create_time_end: int = 0
    limit: int = 100
    position: str = ""

    def parameters(self) -> dict[str, str]:
        """Return what is given, as the parameters of HTTP."""
        named = {
            "status": self.status,
            "transType": self.trans_type,
            "createTimeStart": self.create_time_start,
            "createTimeEnd": self.create_time_end,
            "limit": self.limit,
            "position": self.position,
        }
        return {name: str(value) for name, value in named.items() if value}


class ConnectionProblem(Exception):
    """No answer came. sent: the request may have reached the coordinator all the same.

    answered: something did come, which reads "unavailable" and may be about the coordinator or a branch.
    """

    def __init__(self, message: str, *, sent: bool, answered: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.answered = answered


class Operation(StrEnum):
    """What is asked with a whole transaction; the values are the names of HTTP."""

    SUBMIT = "submit"
    PREPARE = "prepare"
    ABORT = "abort"


class TopicOperation(StrEnum):
    """What is asked about a topic (PROTOCOL §8)."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    DELETE = "topic"


@dataclass(frozen=True, slots=True)
class BranchRegistration:
    """One registerBranch (PROTOCOL §5).

    data: `confirm` and `cancel` of tcc, `url` of xa; `op`, `status`, `url` (the step's name) of workflow, and
    where it sleeps `wake_after`, seconds.
    """

    gid: str
    trans_type: str
    branch_id: str
    data: Mapping[str, str]
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Progress:
    """One recorded step of a workflow. name: what it is called; "" where nobody said, as Go's clients do."""

    branch_id: str
    op: str
    status: BranchStatus
    data: bytes
    name: str = ""


@dataclass(frozen=True, slots=True)
class WorkflowState:
    """What prepareWorkflow answers. result: base64 text, as it was submitted.

    branch_headers, custom_data: as it was begun; empty over gRPC from a Go server, which does not tell them.
    """

    status: Status
    rollback_reason: str
    result: str
    progresses: Sequence[Progress]
    branch_headers: Mapping[str, str] = field(default_factory=dict)
    custom_data: str = ""


class Transport(Protocol):
    """One pooled connection to a coordinator.

    Every call raises ConnectionProblem where no answer came (worth another attempt), and the errors of
    `_answers` for an answer that is not success. Time-outs are in seconds and bound the whole call.
    """

    protocol: str  # what the branches are called with unless their url says otherwise: `http` or `grpc`

    @property
    def address(self) -> str:
        """Where the coordinator is, as branches of Go clients are told it by their callers."""
        ...

    async def operate(self, operation: Operation, request: TransactionRequest, timeout: float) -> Results:
        """Hand the transaction in; return once the coordinator said success, with the results it told."""
        ...

    async def kept_results(self, gid: str, timeout: float) -> Results:
        """Return what steps of this transaction have answered that keep it."""
        ...

    async def register_branch(self, registration: BranchRegistration, timeout: float) -> None:
        """Register a branch, or record a step of a workflow."""
        ...

    async def prepare_workflow(self, request: TransactionRequest, timeout: float) -> WorkflowState:
        """Store a workflow unless it is there; return what is stored."""
        ...

    async def change_topic(
        self, operation: TopicOperation, topic: str, url: str, remark: str, timeout: float
    ) -> None:
        """Subscribe, unsubscribe or delete."""
        ...

    async def new_gid(self, timeout: float) -> str:
        """Return a gid made by the coordinator."""
        ...

    async def query(self, gid: str, timeout: float) -> Mapping[str, Any]:
        """Return the stored transaction and its branches as decoded JSON."""
        ...

    async def list(self, wanted: ListFilter, timeout: float) -> Mapping[str, Any]:
        """Return a page of transactions as decoded JSON."""
        ...

    async def stop(self, gid: str, timeout: float) -> None:
        """Set a transaction to `failed`; nothing more is called."""
        ...

    async def retry(self, gid: str, timeout: float) -> None:
        """Make a transaction due now."""
        ...

    async def close(self) -> None:
        """Close the connection; a second time does nothing."""
        ...


def without_secrets(url: str) -> str:
    """Return the url for people and for branches: without user, password and query."""
    return split_login(url)[0].partition("?")[0]


def bearer(token: str) -> str:
    """The value of `Authorization`; empty for no token."""
    return f"Bearer {token}" if token else ""
