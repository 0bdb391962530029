"""Which branch of which transaction a request is: from query string or gRPC metadata (PROTOCOL §10)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from coordinator.client.errors import InvalidUse, NoBranchContext

FIELDS: Final = ("gid", "trans_type", "branch_id", "op")
PHASE_TWO_URL: Final = "phase2_url"  # of XA: where commit and rollback are to be sent
METADATA_PREFIX: Final = "dtm-"
BRANCHES_MAX: Final = 99


@dataclass(frozen=True, slots=True)
class BranchContext:
    """What the coordinator says with every branch call.

    One object belongs to one request, because it counts the barriers that are used within it (§12), and the
    branches that are nested in it (§1). phase_two_url: of an XA action, "" for everything else.
    """

    gid: str
    trans_type: str
    branch_id: str
    op: str
    phase_two_url: str = ""
    _barriers: Iterator[int] = field(default_factory=lambda: count(1), repr=False, compare=False)
    _branches: Iterator[int] = field(default_factory=lambda: count(1), repr=False, compare=False)

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "BranchContext":
        """Read `gid, trans_type, branch_id, op` from a decoded query string.

        Raises NoBranchContext naming what is missing.
        """
        return cls._read(query, prefix="", place="query string")

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str | bytes]) -> "BranchContext":
        """Read `dtm-gid, dtm-trans_type, dtm-branch_id, dtm-op` from gRPC metadata.

        Raises NoBranchContext naming what is missing.
        """
        return cls._read(metadata, prefix=METADATA_PREFIX, place="gRPC metadata")

    @classmethod
    def _read(
        cls, source: Mapping[str, str] | Mapping[str, str | bytes], *, prefix: str, place: str
    ) -> "BranchContext":
        values = [source.get(prefix + name, "") for name in FIELDS]
        missing = [
            prefix + name
            for name, value in zip(FIELDS, values, strict=True)
            if not isinstance(value, str) or not value
        ]
        if missing:
            raise NoBranchContext(
                f"the {place} lacks {', '.join(missing)}: this is not a branch call of a DTM coordinator. "
                "The coordinator calls the url given to the saga and adds them; by hand, add them too."
            )
        gid, trans_type, branch_id, op = (str(value) for value in values)
        phase_two_url = str(source.get(prefix + PHASE_TWO_URL, ""))
        return cls(gid, trans_type, branch_id, op, phase_two_url)

    def next_barrier_id(self) -> str:
        """Return `01`, `02`, …: a number for each barrier used while handling this request."""
        return f"{next(self._barriers):02d}"

    def next_branch_id(self) -> str:
        """Return the id of the next branch nested in this one: `0101`, `0102`, … in branch `01`.

        Raises InvalidUse for the hundredth: the protocol's ids have two digits a level.
        """
        number = next(self._branches)
        if number > BRANCHES_MAX:
            raise InvalidUse(f"more than {BRANCHES_MAX} branches in one transaction", gid=self.gid)
        return f"{self.branch_id}{number:02d}"


_current: ContextVar[BranchContext | NoBranchContext] = ContextVar("current_branch")


def current_branch() -> BranchContext:
    """Return the branch that the running handler was called as (PROTOCOL §10).

    Set by `BranchServer` (grpclib) and `branch_middleware` (aiohttp). Raises NoBranchContext where there is
    none.
    """
    found = _current.get(None)
    if isinstance(found, BranchContext):
        return found
    if found is not None:
        raise NoBranchContext(found.message)
    raise NoBranchContext(
        "no branch call is being handled here: serve gRPC with coordinator.client.BranchServer, add "
        "branch_middleware to the aiohttp application, or read the context with BranchContext.from_query or "
        "from_metadata"
    )


@contextmanager
def as_current(branch: BranchContext | NoBranchContext) -> Iterator[None]:
    """Make `current_branch` return (or raise) this until the block ends (PROTOCOL §10).

    For adapters to frameworks.
    """
    token = _current.set(branch)
    try:
        yield
    finally:
        _current.reset(token)
