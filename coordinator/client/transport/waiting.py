"""Waiting for the end of a transaction (PROTOCOL §3)."""

import asyncio

from coordinator.client.errors import DtmError, Ongoing, Unreachable
from coordinator.client.transport.attempts import FIRST_PAUSE_SECONDS, LEAST_SECONDS, LONGEST_PAUSE_SECONDS
from coordinator.client.transport.coordinator import Coordinator
from coordinator.client.transport.query import TransactionView, read_query


async def until_final(coordinator: Coordinator, gid: str, timeout: float) -> TransactionView:
    """Return the transaction as soon as it is final. timeout: seconds.

    Raises Ongoing when it is not final in time, DtmError for an unknown gid, and what `query` raises.
    """
    loop, pause = asyncio.get_running_loop(), FIRST_PAUSE_SECONDS
    deadline = loop.time() + timeout
    stored: TransactionView | None = None
    while True:
        # One question goes on for the client's time-out where nobody answers: no longer than was asked for.
        left = max(deadline - loop.time(), LEAST_SECONDS)
        try:
            stored = read_query(await coordinator.query(gid, seconds_max=left), gid)
        except Unreachable as problem:
            if stored is None or left > LONGEST_PAUSE_SECONDS:
                raise
            # Asked again right before the end, with hardly any time to answer in: what was answered counts.
            raise _not_final(stored, timeout) from problem
        if stored is None:
            raise DtmError(f"no transaction {gid}", gid=gid)
        if stored.is_final:
            return stored
        if loop.time() + pause > deadline:
            raise _not_final(stored, timeout)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def _not_final(stored: TransactionView, timeout: float) -> Ongoing:
    return Ongoing(f"transaction {stored.gid} is {stored.status} after {timeout} s", gid=stored.gid)
