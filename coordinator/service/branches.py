"""Branches that a client registers while it runs: TCC, XA, and the progress of workflows (PROTOCOL §5)."""

from dataclasses import replace
from typing import Final

from coordinator.backoff import noted
from coordinator.calls.branch_urls import BranchUrls
from coordinator.engine.tools import Tools
from coordinator.errors import BranchConflict, Failure
from coordinator.model import BranchRequest, Status, later
from coordinator.service.lookup import Lookup, refuse_other_type
from coordinator.service.validate import registered_branches, wake_after
from coordinator.store.base import Assign, Change, Changed

_PREPARED: Final = frozenset({Status.PREPARED})


class Branches:
    """write_seconds: how long a caller waits for the store."""

    def __init__(self, tools: Tools, lookup: Lookup, urls: BranchUrls, *, write_seconds: float) -> None:
        self._tools = tools
        self._lookup = lookup
        self._urls = urls
        self._write_seconds = write_seconds

    async def register(self, request: BranchRequest) -> None:
        """Add the rows of one branch to a prepared transaction; the identical branch again is success.

        A workflow that says when it is to be called back is not driven until then.

        Raises Failure when there is no prepared transaction of that gid and type, BranchConflict when the
        branch is registered with other content, InvalidBranch, StoreUnavailable.
        """
        rows = registered_branches(request, self._urls)
        added = Change(request.gid, _PREPARED, None, trans_type=request.trans_type, added=rows)
        seconds = wake_after(request)
        if seconds is not None:
            added = await self._asleep(added, seconds)
        match await self._tools.store.change(added, timeout=self._write_seconds):
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

    async def _asleep(self, change: Change, seconds: int) -> Change:
        """The change that lets it go as well, whoever drives it: it is called back when it says so.

        It has come further, so that what went wrong before is over.
        """
        stored = await self._lookup.read(change.gid)
        if stored is None:
            return change
        timing, transaction = self._tools.timing, stored.transaction
        ext_data = noted(transaction.ext_data, failed=0, alerted=False)
        assign = Assign(
            owner="",
            next_cron_interval=timing.first_interval(transaction.options),
            next_cron_time=later(self._tools.clock.now(), min(seconds, timing.option_seconds_max)),
            ext_data=None if ext_data == transaction.ext_data else ext_data,
        )
        return self._tools.keeping.notes().taken(transaction, replace(change, assign=assign), ())
