"""Workflows: their client runs them, and says here how far it came and how it ended (PROTOCOL §5, §7)."""

from typing import Final

from coordinator.calls.branch_urls import BranchUrls
from coordinator.engine.drives import Engine
from coordinator.errors import Invalid, NotFound, WrongState
from coordinator.model import Status, TransactionRequest, TransType
from coordinator.service.lookup import Lookup, refuse_other_type
from coordinator.service.new_transaction import new_transaction
from coordinator.service.validate import require_gid, require_text, validated_branches
from coordinator.store.base import Assign, Changed, Move, Stored

_PREPARED: Final = frozenset({Status.PREPARED})
_ENDS: Final = {Status.SUCCEED.value: Status.SUCCEED, Status.FAILED.value: Status.FAILED}


class Workflows:
    """write_seconds: how long a caller waits for the store."""

    def __init__(self, engine: Engine, lookup: Lookup, urls: BranchUrls, *, write_seconds: float) -> None:
        self._engine = engine
        self._lookup = lookup
        self._urls = urls
        self._write_seconds = write_seconds

    async def prepare(self, request: TransactionRequest) -> Stored:
        """Store the workflow, or find the stored one; return it with its progress, in any status.

        Raises Failure when the gid is of another type, Invalid, Conflict, StoreUnavailable.
        """
        if request.trans_type != TransType.WORKFLOW:
            raise Invalid(f"trans_type must be 'workflow' to prepare a workflow, not '{request.trans_type}'")
        validated_branches(request, {}, self._engine.tools.timing, self._urls)
        workflow = new_transaction(self._engine.tools, request, Status.PREPARED)
        if await self._engine.tools.store.insert(workflow, (), timeout=self._write_seconds):
            return Stored(workflow, ())
        stored = await self._lookup.find_conflicting(request.gid)
        refuse_other_type(stored.transaction, request.trans_type, "prepare")
        return stored

    async def submit(self, request: TransactionRequest) -> None:
        """Store how a prepared workflow ended: req_extra's `status`, `rollback_reason` and `result`.

        Raises WrongState when it is not prepared, NotFound, Invalid, StoreUnavailable.
        """
        require_gid(request.gid)
        extra = request.req_extra
        status = _ENDS.get(extra.get("status", ""))
        if status is None:
            raise Invalid(f"req_extra.status must be succeed or failed, not '{extra.get('status', '')}'")
        for name in ("rollback_reason", "result"):
            require_text(f"req_extra.{name}", extra.get(name, ""))
        require_text("rollback_reason", request.rollback_reason)
        end = Assign(
            status=status,
            owner=self._engine.new_owner(),  # tells this submit, repeated, from another
            rollback_reason=extra.get("rollback_reason") or request.rollback_reason,
            result=extra.get("result", ""),
        )
        move = Move(request.gid, TransType.WORKFLOW, _PREPARED, lambda _: end)
        moved = await self._engine.tools.store.move(move, timeout=self._write_seconds)
        if moved.stored is None:
            raise NotFound.of_gid(request.gid)
        workflow = moved.stored.transaction
        if moved.changed is not Changed.APPLIED:
            refuse_other_type(workflow, request.trans_type, "sumbmit")
            raise WrongState(f"current status '{workflow.status}', cannot sumbmit.")
        self._engine.tools.ended(workflow, status)
