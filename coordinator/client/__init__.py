"""The Python client: what a business service imports.

    from coordinator.client import Dtm

    async with Dtm("http://localhost:36789") as dtm:
        saga = dtm.saga(wait_result=True)
        saga.add(f"{bank}/TransOut", f"{bank}/TransOutRevert", {"amount": 30})
        saga.add(f"{bank}/TransIn", f"{bank}/TransInRevert", {"amount": 30})
        await saga.submit()

Async, over HTTP and gRPC with the same methods. For the services that are called: `barrier`,
`current_branch`, and `BranchServer` (grpclib) or `branch_middleware` (aiohttp).
"""

from coordinator.client._aiohttp import branch_middleware, error_response
from coordinator.client._barrier import Barrier, BarrierTransaction, barrier, branch_of
from coordinator.client._barrier_databases import BarrierDatabase, CursorBarrier, MySqlBarrier, SqliteBarrier
from coordinator.client._barrier_rules import BarrierRow, Outcome
from coordinator.client._context import BranchContext, as_current, current_branch
from coordinator.client._dtm import Dtm
from coordinator.client._errors import (
    BarrierError,
    DtmError,
    Failure,
    InvalidUse,
    NoBranchContext,
    Ongoing,
    Unreachable,
)
from coordinator.client._grpc_server import BranchServer
from coordinator.client._payload import Payload
from coordinator.client._query import BranchView, TransactionView
from coordinator.client._saga import Saga, Submitted
from coordinator.model import BranchStatus, Status

__all__ = [
    "Barrier",
    "BarrierDatabase",
    "BarrierError",
    "BarrierRow",
    "BarrierTransaction",
    "BranchContext",
    "BranchServer",
    "BranchStatus",
    "BranchView",
    "CursorBarrier",
    "Dtm",
    "DtmError",
    "Failure",
    "InvalidUse",
    "MySqlBarrier",
    "NoBranchContext",
    "Ongoing",
    "Outcome",
    "Payload",
    "Saga",
    "SqliteBarrier",
    "Status",
    "Submitted",
    "TransactionView",
    "Unreachable",
    "as_current",
    "barrier",
    "branch_middleware",
    "branch_of",
    "current_branch",
    "error_response",
]
