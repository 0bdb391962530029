"""Taking a place among the coordinators over one database."""

import os
import socket

from coordinator import __version__
from coordinator.config.settings import Settings
from coordinator.errors import StartError, StoreUnavailable
from coordinator.store.fleet import Node
from coordinator.store.sql import SqlStore
from coordinator.watching.membership import Alone, Membership


def open_membership(settings: Settings, store: SqlStore, token: str) -> Membership | Alone:
    """Return this coordinator's membership, not joined yet. token: tells this run from any other."""
    if store.missing_tables:
        return Alone(store.missing_tables)
    port = settings.http_port or f"? (process {os.getpid()})"
    me = Node(settings.instance_name, token, f"{socket.gethostname()}:{port}", __version__, store.must_agree)
    return Membership(store.nodes, me, wrote=store.others_write)


async def join(membership: Membership | Alone, settings: Settings) -> None:
    """Join. Raises StartError when one that runs has other settings, or the store does not answer."""
    try:
        await membership.join()
    except StoreUnavailable as error:
        raise StartError(
            f"the store {settings.store.address} cannot be used: {error}",
            "see the database's log, then start again",
        ) from error
