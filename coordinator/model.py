"""The nouns: transaction, branch, status, options. Immutable data, no rules (PROTOCOL §1, §14)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from coordinator.light import light

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
LATEST: Final = datetime.max.replace(microsecond=0, tzinfo=UTC)


def later(moment: datetime, seconds: float) -> datetime:
    """The moment, aware, so many seconds later; LATEST where dates end: any time may stand in a row."""
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        return LATEST


class Status(StrEnum):
    """Where a global transaction stands (PROTOCOL §1)."""

    PREPARED = "prepared"  # stored; for a saga nobody drives it before it is submitted
    SUBMITTED = "submitted"  # going forward
    ABORTING = "aborting"  # going back
    SUCCEED = "succeed"  # final
    FAILED = "failed"  # final: rolled back, or stopped by an operator

    @property
    def is_final(self) -> bool:
        """True when nothing can change any more."""
        return self is Status.SUCCEED or self is Status.FAILED


UNFINISHED: Final = frozenset({Status.PREPARED, Status.SUBMITTED, Status.ABORTING})


class BranchStatus(StrEnum):
    """Where one branch operation stands (PROTOCOL §1)."""

    PREPARED = "prepared"  # no recorded result: not called, or called without an answer that counts
    SUCCEED = "succeed"
    FAILED = "failed"


class TransType(StrEnum):
    """The five patterns."""

    SAGA = "saga"
    MSG = "msg"
    TCC = "tcc"
    XA = "xa"
    WORKFLOW = "workflow"


class Op(StrEnum):
    """What a branch is asked to do. Clients of tcc, xa and workflow may choose others."""

    ACTION = "action"
    COMPENSATE = "compensate"
    TRY = "try"
    CONFIRM = "confirm"
    CANCEL = "cancel"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    MSG = "msg"


class Result(StrEnum):
    """What a branch call said (PROTOCOL §2). UNKNOWN is all else: never a rollback."""

    SUCCESS = "success"
    FAILURE = "failure"
    ONGOING = "ongoing"
    UNKNOWN = "unknown"


PROTOCOL_HTTP: Final = "http"
PROTOCOL_GRPC: Final = "grpc"
PROTOCOL_JSON_RPC: Final = "json-rpc"

# What this server knows beyond the protocol, as it tells clients that ask for its version.
OWN_FEATURES: Final = ("failure_statuses", "step_headers", "step_results", "workflow_sleep")

# With these a branch says that the request itself is wrong: asked again as it is, it says so again. 409 and
# ABORTED are FAILURE whatever a client names; what may pass by itself (408, 425, 429) cannot be named.
HTTP_REFUSALS: Final = frozenset(range(400, 500)) - {408, 425, 429}
# INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, ABORTED, OUT_OF_RANGE, UNIMPLEMENTED,
# UNAUTHENTICATED
GRPC_REFUSALS: Final = frozenset({3, 5, 6, 7, 10, 11, 12, 16})


@light
@dataclass(frozen=True, slots=True)
class Options:
    """What a client may ask for, transaction by transaction. Seconds; 0 means not given."""

    wait_result: bool = False
    timeout_to_fail: int = 0  # seconds
    request_timeout: int = 0  # seconds, one branch call
    retry_interval: int = 0  # seconds
    retry_limit: int = 0  # repeats within a round; 0: no limit, retried by time
    concurrent: bool = False
    branch_headers: Mapping[str, str] = field(default_factory=dict)
    # Of this server alone: statuses of branches, HTTP's or gRPC's, that count as FAILURE.
    failure_statuses: tuple[int, ...] = ()
    # Of this server alone: headers of one step's calls, by branch_id; they go before branch_headers.
    step_headers: Mapping[str, Mapping[str, str]] | None = None

    def headers_for(self, branch_id: str) -> Mapping[str, str]:
        """The headers that a call of this branch carries."""
        if not self.step_headers or not (own := self.step_headers.get(branch_id.partition("-")[0])):
            return self.branch_headers
        named = {name.lower() for name in own}
        return {**{name: it for name, it in self.branch_headers.items() if name.lower() not in named}, **own}


@dataclass(frozen=True, slots=True)
class Place:
    """A value of a payload that comes from what a step answered. Paths: see coordinator.results."""

    at: str  # where in the payload
    step: int  # whose result, counted from 0
    path: str  # what of it


@light
@dataclass(frozen=True, slots=True)
class Step:
    """One step of a saga or message as the client gives it. An empty url counts as success.

    What follows compensate is of this server alone. compensate_payload, compensate_from_results: of the
    compensation, where it has its own.
    """

    action: str = ""
    compensate: str = ""
    headers: Mapping[str, str] | None = None
    keep_result: bool = False
    from_results: tuple[Place, ...] = ()
    compensate_payload: bytes | None = None
    compensate_from_results: tuple[Place, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether nothing in it is of this server alone."""
        return not (
            self.keep_result
            or self.from_results
            or self.compensate_payload is not None
            or self.compensate_from_results
        )


@light
@dataclass(frozen=True, slots=True)
class TransactionRequest:
    """A submit, prepare or abort as decoded from any protocol: types are right, rules are not yet checked."""

    gid: str
    trans_type: str
    steps: tuple[Step, ...] = ()
    payloads: tuple[bytes, ...] = ()
    query_prepared: str = ""
    protocol: str = PROTOCOL_HTTP
    options: Options = Options()
    custom_data: str = ""
    rollback_reason: str = ""
    req_extra: Mapping[str, str] = field(default_factory=dict)
    # Names of the options that were given, whatever their value; None: those that are not 0.
    given: frozenset[str] | None = field(default=None, compare=False)


@light
@dataclass(frozen=True, slots=True)
class BranchRequest:
    """A registerBranch as decoded from any protocol."""

    gid: str
    trans_type: str
    branch_id: str
    payload: bytes = b""
    # Urls by op; of a workflow `op`, `status`, `url`: what its client calls the step, and `wake_after`.
    data: Mapping[str, str] = field(default_factory=dict)


@light
@dataclass(frozen=True, slots=True)
class Transaction:
    """One row of `trans_global`. Times are aware and UTC."""

    gid: str
    trans_type: str  # a TransType; text, so that a row written by another program can be shown
    status: Status
    protocol: str = PROTOCOL_HTTP
    query_prepared: str = ""
    options: Options = Options()
    custom_data: str = ""
    result: str = ""
    rollback_reason: str = ""
    create_time: datetime = EPOCH
    update_time: datetime = EPOCH
    finish_time: datetime | None = None
    rollback_time: datetime | None = None
    next_cron_interval: int = 0  # seconds
    next_cron_time: datetime = EPOCH
    owner: str = ""  # `<instance>/<start>/<counter>` of who drives it now; empty when nobody does
    ext_data: str = ""
    id: int = 0  # 0 before it is stored


BranchKey = tuple[str, str]  # (branch_id, op): unique within a gid


@light
@dataclass(frozen=True, slots=True)
class Branch:
    """One row of `trans_branch_op`: one call that may have to be made."""

    gid: str
    branch_id: str
    op: str
    url: str
    payload: bytes = b""  # column bin_data
    status: BranchStatus = BranchStatus.PREPARED
    create_time: datetime = EPOCH
    update_time: datetime = EPOCH
    finish_time: datetime | None = None
    rollback_time: datetime | None = None
    id: int = 0  # 0 before it is stored

    @property
    def key(self) -> "BranchKey":
        """(branch_id, op), unique within the transaction."""
        return (self.branch_id, self.op)

    def with_status(self, status: BranchStatus) -> "Branch":
        """The same row with this status; written out, since `replace` takes three times as long."""
        return Branch(
            self.gid,
            self.branch_id,
            self.op,
            self.url,
            self.payload,
            status,
            self.create_time,
            self.update_time,
            self.finish_time,
            self.rollback_time,
            self.id,
        )
