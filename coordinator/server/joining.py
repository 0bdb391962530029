"""Taking a place among the coordinators over one database, and among the processes of one coordinator."""

import os
import socket
from contextlib import AsyncExitStack

import orjson
from prometheus_client import generate_latest

from coordinator import __version__
from coordinator.config.settings import Settings
from coordinator.errors import StartError, StoreUnavailable
from coordinator.server.place import Place
from coordinator.service import Topics
from coordinator.store.fleet import Node
from coordinator.store.sql import SqlStore
from coordinator.telemetry.metrics import Metrics
from coordinator.watching.membership import Alone, Membership
from coordinator.watching.readiness import Readiness
from coordinator.watching.siblings import METRICS, PROBLEMS, TOPICS, Siblings


def open_membership(settings: Settings, store: SqlStore, token: str) -> Membership | Alone:
    """Return this coordinator's membership, not joined yet. token: tells this run from any other."""
    if sql := store.missing_tables.get("dtm_node"):
        return Alone(sql)
    port = settings.http_port or f"? (process {os.getpid()})"
    me = Node(settings.instance_name, token, f"{socket.gethostname()}:{port}", __version__, store.must_agree)
    return Membership(store.nodes, me, wrote=store.others_write)


async def join(membership: Membership | Alone, settings: Settings) -> Membership | Alone:
    """Join; return the membership.

    Raises StartError when one that runs has other settings, or the store does not answer.
    """
    try:
        await membership.join()
    except StoreUnavailable as error:
        raise StartError(
            f"the store {settings.store.address} cannot be used: {error}",
            "see the database's log, then start again",
        ) from error
    return membership


async def open_siblings(
    place: Place | None, readiness: Readiness, metrics: Metrics, topics: Topics, opened: AsyncExitStack
) -> Siblings | None:
    """Return the other processes, which are answered until `opened` closes; None where there are none.

    Topics that change here are told them. Raises OSError.
    """
    if place is None:
        return None

    def forget() -> bytes:
        topics.forget()
        return b"ok"

    siblings = Siblings(
        place.folder,
        place.number,
        place.count,
        {
            METRICS: lambda: generate_latest(metrics.registry),
            PROBLEMS: lambda: orjson.dumps(dict(readiness.problems())),
            TOPICS: forget,
        },
    )
    topics.tell = siblings.forget_topics
    opened.push_async_callback(siblings.close)
    await siblings.start()
    return siblings
