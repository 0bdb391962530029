"""The Python client, for programs and branches. Imports discovery, results, telemetry, proto and the nouns.

    from coordinator.client import Dtm

    async with Dtm("http://localhost:36789") as dtm:
        saga = dtm.saga(wait_result=True)
        saga.add(f"{bank}/TransOut", f"{bank}/TransOutRevert", {"amount": 30})
        saga.add(f"{bank}/TransIn", f"{bank}/TransInRevert", {"amount": 30})
        await saga.submit()

Async, over HTTP and gRPC with the same methods. For the services that are called: `barrier`,
`current_branch`, and `BranchServer` (grpclib) or `branch_middleware` (aiohttp). Importing this loads none of
those libraries: each is loaded where it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from coordinator.client.barriers.barrier import Barrier, BarrierTransaction, barrier
from coordinator.client.barriers.databases import BarrierDatabase
from coordinator.client.barriers.on_mysql import CursorBarrier, MySqlBarrier
from coordinator.client.barriers.on_redis import RedisBarrier, redis_query_prepared
from coordinator.client.barriers.on_sqlite import SqliteBarrier
from coordinator.client.barriers.query_prepared import (
    query_prepared,
    query_prepared_handler,
    query_prepared_service,
)
from coordinator.client.barriers.redis_commands import RedisCommands
from coordinator.client.barriers.rules import BarrierRow, Outcome
from coordinator.client.barriers.table import create_barrier_table
from coordinator.client.barriers.with_barrier import with_barrier
from coordinator.client.dtm import Dtm
from coordinator.client.errors import (
    BarrierError,
    DtmError,
    Duplicated,
    Failure,
    InvalidUse,
    Mismatch,
    NoBranchContext,
    Ongoing,
    Said,
    Unreachable,
)
from coordinator.client.extras import MissingExtra
from coordinator.client.frameworks.for_asgi import BranchMiddleware
from coordinator.client.frameworks.local_call import LocalCall
from coordinator.client.frameworks.request import branch_of
from coordinator.client.patterns.msg import Msg
from coordinator.client.patterns.saga import Saga
from coordinator.client.patterns.tcc import Tcc
from coordinator.client.patterns.workflow import Workflow, WorkflowFunction
from coordinator.client.patterns.workflow_policy import Retry
from coordinator.client.patterns.workflow_progress import External
from coordinator.client.patterns.xa import Xa
from coordinator.client.transport.branch_calls import BranchAnswer
from coordinator.client.transport.context import BranchContext, as_current, current_branch
from coordinator.client.transport.options import TransactionOptions
from coordinator.client.transport.payload import Payload, encode_json
from coordinator.client.transport.query import BranchView, TransactionPage, TransactionView
from coordinator.client.transport.step_results import FromResult, from_result
from coordinator.client.transport.submitted import Submitted
from coordinator.client.workflows import Workflows, workflow
from coordinator.client.xa.branch import XaBranch, XaTransaction
from coordinator.model import BranchStatus, Status

if TYPE_CHECKING:
    from coordinator.client.frameworks.for_aiohttp import branch_middleware, error_response
    from coordinator.client.frameworks.for_grpclib import BranchServer, branch_method

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
    "External",
    "Failure",
    "FromResult",
    "InvalidUse",
    "LocalCall",
    "Mismatch",
    "MissingExtra",
    "Msg",
    "MySqlBarrier",
    "NoBranchContext",
    "Ongoing",
    "Outcome",
    "Payload",
    "RedisBarrier",
    "RedisCommands",
    "Retry",
    "Saga",
    "Said",
    "SqliteBarrier",
    "Status",
    "Submitted",
    "Tcc",
    "TransactionOptions",
    "TransactionPage",
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
    "encode_json",
    "error_response",
    "from_result",
    "query_prepared",
    "query_prepared_handler",
    "query_prepared_service",
    "redis_query_prepared",
    "with_barrier",
    "workflow",
]

_LOADED_WHEN_ASKED_FOR = {
    "branch_middleware": "coordinator.client.frameworks.for_aiohttp",
    "error_response": "coordinator.client.frameworks.for_aiohttp",
    "BranchServer": "coordinator.client.frameworks.for_grpclib",
    "branch_method": "coordinator.client.frameworks.for_grpclib",
}


def __getattr__(name: str) -> Any:
    if name not in _LOADED_WHEN_ASKED_FOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LOADED_WHEN_ASKED_FOR[name]), name)
