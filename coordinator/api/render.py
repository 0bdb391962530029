"""Stored rows → the JSON of `query` and `all` (PROTOCOL §3): empty fields left out, times in RFC 3339."""

import asyncio
from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from typing import Any, Final

from coordinator.backoff import without_notes
from coordinator.model import Branch, Transaction
from coordinator.store.base import KeyValue, Stored
from coordinator.store.options import encode_options

_BRANCHES_AT_ONCE: Final = 100  # half a millisecond, or 7 with the longest payloads


async def rendered(
    render: Callable[[Any, tzinfo | None], dict[str, Any]], stored: Stored | None, zone: tzinfo | None
) -> dict[str, Any]:
    """What `render` makes of a transaction; one of many branches in a thread, so that others are answered."""
    if stored is None or len(stored.branches) <= _BRANCHES_AT_ONCE:
        return render(stored, zone)
    return await asyncio.to_thread(render, stored, zone)


def render_query(stored: Stored | None, zone: tzinfo | None) -> dict[str, Any]:
    """The answer of `query`; times are shown in `zone`."""
    if stored is None:
        return {"transaction": None, "branches": []}
    return {
        "transaction": render_transaction(stored.transaction, zone),
        "branches": [render_branch(branch, zone) for branch in stored.branches],
    }


def render_all(
    transactions: Sequence[Transaction], next_position: str, zone: tzinfo | None, *, of_gid: bool = False
) -> dict[str, Any]:
    """The answer of `all`: one page, and where the next one starts ("" after the last).

    of_gid: it was asked for one gid; one that nobody has is null, where a page without rows is an empty list.
    """
    rendered = [render_transaction(transaction, zone) for transaction in transactions]
    return {"transactions": None if of_gid and not rendered else rendered, "next_position": next_position}


def render_workflow(stored: Stored, zone: tzinfo | None) -> dict[str, Any]:
    """The answer of `prepareWorkflow`: the transaction and what it has done so far."""
    return {
        "transaction": render_transaction(stored.transaction, zone),
        "progresses": [render_branch(branch, zone) for branch in stored.branches],
    }


def render_key_value(row: KeyValue, zone: tzinfo | None) -> dict[str, Any]:
    """One row of `kv`."""
    return {
        "id": row.id,
        "create_time": shown_time(row.create_time, zone),
        "update_time": shown_time(row.update_time, zone),
        "cat": row.category,
        "k": row.key,
        "v": row.value,
        "version": row.version,
    }


def render_transaction(transaction: Transaction, zone: tzinfo | None) -> dict[str, Any]:
    """One row of `trans_global`."""
    fields = {
        "gid": transaction.gid,
        "trans_type": transaction.trans_type,
        "status": transaction.status,
        "query_prepared": transaction.query_prepared,
        "protocol": transaction.protocol,
        "finish_time": shown_time(transaction.finish_time, zone),
        "rollback_time": shown_time(transaction.rollback_time, zone),
        "result": transaction.result,
        "rollback_reason": transaction.rollback_reason,
        "options": encode_options(transaction.options),
        "custom_data": transaction.custom_data,
        "next_cron_interval": transaction.next_cron_interval,
        "next_cron_time": shown_time(transaction.next_cron_time, zone),
        "owner": transaction.owner,
        "ext_data": without_notes(transaction.ext_data),
    }
    return {
        "id": transaction.id,
        "create_time": shown_time(transaction.create_time, zone),
        "update_time": shown_time(transaction.update_time, zone),
        **{name: value for name, value in fields.items() if value},
        "concurrent": transaction.options.concurrent,
    }


def render_branch(branch: Branch, zone: tzinfo | None) -> dict[str, Any]:
    """One row of `trans_branch_op`; the payload as base64."""
    fields = {
        "gid": branch.gid,
        "url": branch.url,
        "bin_data": b64encode(branch.payload).decode(),
        "branch_id": branch.branch_id,
        "op": branch.op,
        "status": branch.status,
        "finish_time": shown_time(branch.finish_time, zone),
        "rollback_time": shown_time(branch.rollback_time, zone),
    }
    return {
        "id": branch.id,
        "create_time": shown_time(branch.create_time, zone),
        "update_time": shown_time(branch.update_time, zone),
        **{name: value for name, value in fields.items() if value},
    }


def shown_time(moment: datetime | None, zone: tzinfo | None) -> str | None:
    """In RFC 3339, with the offset of the zone; None for no time."""
    if moment is None:
        return None
    # Years that the zone's offset would push out of range exist in no real row, but must not break a page.
    try:
        local = moment.astimezone(zone)
    except (OverflowError, ValueError):
        local = moment
    shown = local.isoformat()
    return shown[:-6] + "Z" if shown.endswith("+00:00") else shown
