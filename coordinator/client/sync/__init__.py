"""The client for blocking code: the async one does the work, in its own thread. Imports workflows and below.

    from coordinator.client.sync import Dtm

    with Dtm("http://localhost:36789") as dtm:
        saga = dtm.saga(wait_result=True)
        saga.add(f"{bank}/TransOut", f"{bank}/TransOutRevert", {"amount": 30})
        saga.submit()

One `Dtm` may be used by many threads. The names, options, results and errors are those of
`coordinator.client`; what is handed in as a function runs in the thread that calls.
"""

from coordinator.client.frameworks.for_wsgi import error_answer
from coordinator.client.sync.barriers import Barrier, barrier, query_prepared
from coordinator.client.sync.decorator import with_barrier
from coordinator.client.sync.dtm import Dtm
from coordinator.client.sync.patterns import Msg, Saga, Tcc, Xa
from coordinator.client.sync.redis_barrier import RedisBarrier, redis_query_prepared
from coordinator.client.sync.workflow import Workflow, WorkflowFunction
from coordinator.client.sync.workflows import External, Workflows, workflow
from coordinator.client.sync.xa_branch import XaBranch

__all__ = [
    "Barrier",
    "Dtm",
    "External",
    "Msg",
    "RedisBarrier",
    "Saga",
    "Tcc",
    "Workflow",
    "WorkflowFunction",
    "Workflows",
    "Xa",
    "XaBranch",
    "barrier",
    "error_answer",
    "query_prepared",
    "redis_query_prepared",
    "with_barrier",
    "workflow",
]
