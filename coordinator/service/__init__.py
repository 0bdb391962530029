"""What each operation does, topics too, under every protocol; what is refused. Imports engine and below."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from coordinator.engine.drives import Engine
from coordinator.service.branches import Branches
from coordinator.service.lookup import Lookup
from coordinator.service.operators import Operators
from coordinator.service.rounds import Rounds
from coordinator.service.topics import Topics
from coordinator.service.transactions import Transactions
from coordinator.service.workflows import Workflows

__all__ = ["Branches", "Operations", "Operators", "Topics", "Transactions", "Workflows", "build_operations"]


@dataclass(frozen=True, slots=True)
class Operations:
    """All that the protocols in front can ask for, by subject."""

    transactions: Transactions
    branches: Branches
    workflows: Workflows
    topics: Topics
    operators: Operators


def build_operations(
    engine: Engine,
    *,
    random: Random,
    wake: Callable[[], None],
    write_seconds: float,
    reset_seconds: float,
    topic_seconds: float,
) -> Operations:
    """Return the operations over one engine and its store.

    wake: makes recovery look now. write_seconds: how long a caller waits for the store. reset_seconds: what
    reset_cron_time takes when no time is given. topic_seconds: how long a topic's subscribers are believed.
    """
    tools = engine.tools
    lookup = Lookup(tools.store, seconds=write_seconds)
    topics = Topics(tools.store, tools.clock, random, believed_seconds=topic_seconds)
    rounds = Rounds(engine, lookup, write_seconds=write_seconds)
    workflows = Workflows(engine, lookup, write_seconds=write_seconds)
    return Operations(
        Transactions(engine, lookup, rounds, workflows, topics, random=random, write_seconds=write_seconds),
        Branches(tools.store, lookup, write_seconds=write_seconds),
        workflows,
        topics,
        Operators(engine, lookup, wake=wake, write_seconds=write_seconds, reset_seconds=reset_seconds),
    )
