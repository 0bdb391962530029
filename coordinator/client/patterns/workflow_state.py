"""What is stored of a workflow: whether it is the one that is meant, and how it ended (PROTOCOL §5, §7)."""

import base64
import binascii
from typing import Final

from coordinator.client.errors import DtmError, Failure, Mismatch
from coordinator.client.patterns import workflow_rows as rows
from coordinator.client.patterns.workflow_progress import External, loaded
from coordinator.client.transport.base import WorkflowState
from coordinator.client.transport.said import said_by
from coordinator.model import BranchStatus, Status

RESULT: Final = "result"  # the op of the row that says that the result was lost


def check_same(state: WorkflowState, gid: str, name: str, data: bytes) -> None:
    """Raise Mismatch where another workflow, or one with other data, has this gid."""
    found = rows.begun_with(state.custom_data)
    if found is None:
        return
    found_name, found_data = found
    if found_name != name:
        raise Mismatch(
            f"gid {gid} is a workflow {found_name!r}, not {name!r}: give this one a gid of its own", gid=gid
        )
    if found_data != data and _as_value(found_data) != _as_value(data):
        raise Mismatch(
            f"workflow {gid} was begun with other data, {found_data[:200]!r} and not {data[:200]!r}: give "
            "what it was begun with, or another gid",
            gid=gid,
        )


def _as_value(data: bytes) -> object:
    try:
        return rows.from_json(data)
    except DtmError:
        return data


async def result_of(state: WorkflowState, gid: str, external: External | None) -> bytes:
    """Return the stored result of a workflow that has ended; raise why it was rolled back.

    Raises ResultTooLarge where that was a result.
    """
    match state.status:
        case Status.SUCCEED:
            try:
                stored = base64.b64decode(state.result, validate=True)
            except binascii.Error as error:
                raise DtmError(f"the result of workflow {gid} is no base64", gid=gid) from error
            return await loaded(external, stored, gid)
        case Status.FAILED:
            raise _failure_of(state, gid)
        case _:
            raise DtmError(f"workflow {gid} is {state.status}, which no workflow can be", gid=gid)


def _failure_of(state: WorkflowState, gid: str) -> DtmError:
    """Return why it was rolled back: what the failed step said, where the reason is that step's."""
    reason = state.rollback_reason
    for one in state.progresses:
        size = rows.size_too_large(one.data)
        if size is not None and one.status is BranchStatus.SUCCEED:
            is_own = one.op == RESULT
            what = "the function" if is_own else f"step {rows.Step(one.branch_id, one.name)}"
            return rows.ResultTooLarge(
                what, size, rows.result_bytes_max() if is_own else rows.ROW_BYTES_MAX, gid
            )
    failed = [
        said_by("", one.branch_id, one.op, None, rows.unpacked(one.data).decode(errors="replace"))
        for one in state.progresses
        if one.status is BranchStatus.FAILED
    ]
    said = next((one for one in reversed(failed) if one.reason.startswith(reason)), None)
    return Failure(reason or "rolled back", gid=gid, answer=reason, said=said if reason else None)
