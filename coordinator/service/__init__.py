"""What each operation does in every protocol, and what is refused. Imports engine, access and below."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from coordinator.access.recorder import Recorder, unrecorded
from coordinator.calls.branch_urls import BranchUrls
from coordinator.engine.drives import Engine
from coordinator.engine.holding import Holding
from coordinator.service.acting import Acting
from coordinator.service.branches import Branches
from coordinator.service.bulk import Bulk
from coordinator.service.endpoints import Endpoints, StuckTables
from coordinator.service.lookup import Lookup
from coordinator.service.operate import Nodes, Operate, Tables
from coordinator.service.operators import Operators
from coordinator.service.overview import Overview
from coordinator.service.overview import Tables as OverviewTables
from coordinator.service.rounds import Rounds
from coordinator.service.topics import Topics
from coordinator.service.transactions import Transactions
from coordinator.service.workflows import Workflows
from coordinator.store.fleet import Roll
from coordinator.watching.endpoint_record import EndpointRecord

__all__ = [
    "Branches",
    "Bulk",
    "Endpoints",
    "Operations",
    "Operators",
    "Topics",
    "Transactions",
    "Workflows",
    "build_operations",
]


class AllTables(Tables, StuckTables, Protocol):
    """All that is asked of the store beside transactions."""


@dataclass(frozen=True, slots=True)
class Operations:
    """All that the protocols in front can ask for, by subject."""

    transactions: Transactions
    branches: Branches
    workflows: Workflows
    topics: Topics
    operators: Operators
    operate: Operate
    overview: Overview
    bulk: Bulk
    endpoints: Endpoints


def build_operations(
    engine: Engine,
    *,
    urls: BranchUrls,
    random: Random,
    wake: Callable[[], None],
    write_seconds: float,
    reset_seconds: float,
    topic_seconds: float,
    recorder: Recorder | None = None,
    tables: AllTables | None = None,
    nodes: Nodes | None = None,
    overview: OverviewTables | None = None,
    roll: Callable[[], Roll | None] = lambda: None,
    clocks_apart: Callable[[], float] = float,
    acting: Acting | None = None,
    bulk: Bulk | None = None,
    holding: Holding | None = None,
    called: EndpointRecord | None = None,
) -> Operations:
    """Return the operations over one engine and its store.

    urls: which can and may be called. wake: makes recovery look now. write_seconds: how long a caller waits
    for the store. reset_seconds: what reset_cron_time takes when no time is given. topic_seconds: how long a
    topic's subscribers are believed. recorder: keeps who changed what; None: the log alone is told.
    tables, nodes, overview: what the store keeps beside transactions; None: nothing. roll, clocks_apart:
    see Operate.
    acting: what writes their actions; None: its own. bulk: None where nothing is asked of many at once.
    holding: what keeps endpoints held; None: none can be. called: how calls to endpoints went; None: unknown.
    """
    tools = engine.tools
    recorder = unrecorded(tools.clock) if recorder is None else recorder
    lookup = Lookup(tools.store, seconds=write_seconds)
    acting = acting or Acting(engine, recorder, write_seconds=write_seconds, wake=wake)
    topics = Topics(tools.store, tools.clock, random, urls, believed_seconds=topic_seconds, recorder=recorder)
    rounds = Rounds(engine, lookup, write_seconds=write_seconds)
    workflows = Workflows(engine, lookup, urls, write_seconds=write_seconds)
    return Operations(
        Transactions(
            engine, lookup, rounds, workflows, topics, urls, random=random, write_seconds=write_seconds
        ),
        Branches(tools, lookup, urls, write_seconds=write_seconds),
        workflows,
        topics,
        Operators(
            engine,
            lookup,
            wake=wake,
            write_seconds=write_seconds,
            reset_seconds=reset_seconds,
            recorder=recorder,
        ),
        Operate(
            engine,
            lookup,
            urls,
            recorder,
            acting,
            tables=tables,
            nodes=nodes,
            roll=roll,
            clocks_apart=clocks_apart,
        ),
        Overview(overview, tools.clock),
        bulk or Bulk(None, tools.clock, recorder, owner="", wake=wake),
        Endpoints(
            tools,
            holding or Holding(None, tools.admission, tools.clock),
            recorder,
            tables=tables,
            called=called,
        ),
    )
