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
from coordinator.client._asgi import BranchMiddleware
from coordinator.client._barrier import Barrier, BarrierTransaction, barrier
from coordinator.client._barrier_databases import BarrierDatabase
from coordinator.client._barrier_mysql import CursorBarrier, MySqlBarrier
from coordinator.client._barrier_redis import RedisBarrier, redis_query_prepared
from coordinator.client._barrier_rules import BarrierRow, Outcome
from coordinator.client._barrier_sqlite import SqliteBarrier
from coordinator.client._barrier_table import create_barrier_table
from coordinator.client._branch_calls import BranchAnswer
from coordinator.client._context import BranchContext, as_current, current_branch
from coordinator.client._dtm import Dtm
from coordinator.client._errors import (
    BarrierError,
    DtmError,
    Duplicated,
    Failure,
    InvalidUse,
    NoBranchContext,
    Ongoing,
    Unreachable,
)
from coordinator.client._grpc_server import BranchServer, branch_method
from coordinator.client._msg import Msg
from coordinator.client._options import TransactionOptions
from coordinator.client._payload import Payload
from coordinator.client._query import BranchView, TransactionView
from coordinator.client._query_prepared import (
    query_prepared,
    query_prepared_handler,
    query_prepared_service,
)
from coordinator.client._redis_commands import RedisCommands
from coordinator.client._request import branch_of
from coordinator.client._saga import Saga
from coordinator.client._submitted import Submitted
from coordinator.client._tcc import Tcc
from coordinator.client._with_barrier import with_barrier
from coordinator.client._workflow import Workflow
from coordinator.client._workflows import WorkflowFunction, Workflows, workflow
from coordinator.client._xa import Xa
from coordinator.client._xa_branch import XaBranch, XaTransaction
from coordinator.model import BranchStatus, Status

__all__ = [
    "Barrier",
    "BarrierDatabase",
    "BarrierError",
    "BarrierRow",
    "BarrierTransaction",
    "BranchAnswer",
    "BranchContext",
    "BranchMiddleware",
    "BranchServer",
    "BranchStatus",
    "BranchView",
    "CursorBarrier",
    "Dtm",
    "DtmError",
    "Duplicated",
    "Failure",
    "InvalidUse",
    "Msg",
    "MySqlBarrier",
    "NoBranchContext",
    "Ongoing",
    "Outcome",
    "Payload",
    "RedisBarrier",
    "RedisCommands",
    "Saga",
    "SqliteBarrier",
    "Status",
    "Submitted",
    "Tcc",
    "TransactionOptions",
    "TransactionView",
    "Unreachable",
    "Workflow",
    "WorkflowFunction",
    "Workflows",
    "Xa",
    "XaBranch",
    "XaTransaction",
    "as_current",
    "barrier",
    "branch_method",
    "branch_middleware",
    "branch_of",
    "create_barrier_table",
    "current_branch",
    "error_response",
    "query_prepared",
    "query_prepared_handler",
    "query_prepared_service",
    "redis_query_prepared",
    "with_barrier",
    "workflow",
]
