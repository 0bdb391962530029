"""Branches that a client registers while it runs: TCC, XA, and the progress of workflows (PROTOCOL §5)."""

from typing import Final

from coordinator.errors import BranchConflict, Failure
from coordinator.model import BranchRequest, Status
from coordinator.service.lookup import Lookup, refuse_other_type
from coordinator.service.validate import registered_branches
from coordinator.store.base import Change, Changed, Store

_PREPARED: Final = frozenset({Status.PREPARED})


class Branches:
    """write_seconds: how long a caller waits for the store."""

    def __init__(self, store: Store, lookup: Lookup, *, write_seconds: float) -> None:
        self._store = store
        self._lookup = lookup
        self._write_seconds = write_seconds

    async def register(self, request: BranchRequest) -> None:
        """Add the rows of one branch to a prepared transaction; the identical branch again is success.

        Raises Failure when there is no prepared transaction of that gid and type, BranchConflict when the
        branch is registered with other content, InvalidBranch, StoreUnavailable.
        """
        rows = registered_branches(request)
        added = Change(request.gid, _PREPARED, None, trans_type=request.trans_type, added=rows)
        match await self._store.change(added, timeout=self._write_seconds):
            case Changed.APPLIED:
                return
            case Changed.CLASHES:
                raise BranchConflict(
                    f"branch {request.branch_id} of gid '{request.gid}' is registered already, and differs"
                )
            case Changed.REFUSED | Changed.MISSING:
                stored = await self._lookup.read(request.gid)
                if stored is not None and stored.transaction.status is Status.PREPARED:
                    refuse_other_type(stored.transaction, request.trans_type, "register")
                raise Failure(f"no trans with gid: {request.gid} status: prepared found")
