"""The recorded steps of one workflow: what was done is not done again (PROTOCOL §5, §7)."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from coordinator.client.errors import DtmError, Failure
from coordinator.client.transport.base import BranchRegistration, Progress
from coordinator.client.transport.coordinator import Coordinator
from coordinator.model import BranchStatus, TransType

_BASE64: Final = b"base64:"


class ProgressLog:
    """What the coordinator knows of a workflow's steps, and the way to tell it more."""

    def __init__(self, coordinator: Coordinator, gid: str, progresses: Iterable[Progress]) -> None:
        self._coordinator = coordinator
        self._gid = gid
        self._known = {(one.branch_id, one.op): one for one in progresses}

    async def recorded(self, branch_id: str, op: str, act: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the recorded result, or act and record it; what it is not known about is not recorded.

        Raises Failure, now and whenever it is asked again, where the step said so.
        """
        found = self._known.get((branch_id, op))
        if found is None:
            try:
                data = await act()
            except Failure as failure:
                await self.record(branch_id, op, BranchStatus.FAILED, failure.reason.encode())
                raise
            await self.record(branch_id, op, BranchStatus.SUCCEED, data)
            return data
        if found.status is BranchStatus.FAILED:
            text = unpacked(found.data).decode(errors="replace")
            raise Failure(text, gid=self._gid, answer=text)
        return unpacked(found.data)

    def find(self, branch_id: str, op: str) -> bytes | None:
        """Return what is recorded as done, None where nothing is."""
        found = self._known.get((branch_id, op))
        return unpacked(found.data) if found else None

    async def record(self, branch_id: str, op: str, status: BranchStatus, data: bytes) -> None:
        """Tell the coordinator. Raises DtmError where another process has recorded something else."""
        packed_data = packed(data)
        registration = BranchRegistration(
            self._gid, TransType.WORKFLOW, branch_id, {"op": op, "status": status}, packed_data
        )
        try:
            await self._coordinator.register_branch(registration)
        except Failure as refused:  # about the record, not about the step: nothing is to be undone here
            raise DtmError(
                f"step {branch_id} {op} could not be recorded, the workflow has ended elsewhere: {refused}",
                gid=self._gid,
                answer=refused.answer,
            ) from refused
        self._known[branch_id, op] = Progress(branch_id, op, status, packed_data)


def packed(data: bytes) -> bytes:
    """Return the data as text: over HTTP a payload travels inside a JSON string."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return _BASE64 + base64.b64encode(data)
    return _BASE64 + base64.b64encode(data) if data.startswith(_BASE64) else data


def unpacked(data: bytes) -> bytes:
    """Return what was packed. Raises DtmError for what nobody can have packed."""
    if not data.startswith(_BASE64):
        return data
    try:
        return base64.b64decode(data.removeprefix(_BASE64), validate=True)
    except binascii.Error as error:
        raise DtmError(f"a recorded step is not what this client writes: {data[:50]!r}") from error
