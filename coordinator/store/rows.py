"""Between the model and stored rows, both ways: values as columns hold them, times as wall clock."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from coordinator.errors import Invalid
from coordinator.model import EPOCH, Branch, BranchStatus, Status, Transaction
from coordinator.store.base import Assign, Change
from coordinator.store.batch import AssignedValues, Insertion, Update
from coordinator.store.limits import check_branches, check_texts, check_transaction
from coordinator.store.options import decode_options, encode_options
from coordinator.store.statements import Values
from coordinator.store.wall_clock import WallClock


def insertion_of(transaction: Transaction, branches: Sequence[Branch], clock: WallClock) -> Insertion:
    """Return the rows of a new transaction; raises Invalid when a value does not fit its column."""
    options = encode_options(transaction.options)
    check_transaction(transaction, options)
    check_branches(branches)
    gid = transaction.gid
    return Insertion(
        gid,
        transaction.owner,
        (
            gid,
            transaction.trans_type,
            transaction.status.value,
            transaction.query_prepared,
            transaction.protocol,
            options,
            transaction.custom_data,
            transaction.next_cron_interval,
            clock.text_rounded_up(transaction.next_cron_time),
            transaction.owner,
            transaction.ext_data,
        ),
        branch_rows_of(branches),
    )


def branch_rows_of(branches: Sequence[Branch]) -> tuple[Values, ...]:
    """The branches as `Statements.insert_branches` takes them."""
    return tuple([(b.gid, b.url, b.payload, b.branch_id, b.op, b.status.value) for b in branches])


def update_of(change: Change, clock: WallClock) -> Update:
    """Return the change with the values to store; raises Invalid when one does not fit its column."""
    values = assigned_values(change.assign, clock)
    if not change.added:
        return Update(change.gid, change, values)
    check_branches(change.added)
    return Update(change.gid, change, values, branch_rows_of(change.added))


def assigned_values(assign: Assign, clock: WallClock) -> AssignedValues:
    """The values in the order of ASSIGNED_COLUMNS, as stored; empty when nothing is assigned."""
    status, time = assign.status, assign.next_cron_time
    options = None if assign.options is None else encode_options(assign.options)
    values = (
        None if status is None else status.value,
        assign.owner,
        assign.next_cron_interval,
        None if time is None else clock.text_rounded_up(time),
        assign.rollback_reason,
        assign.result,
        options,
        assign.custom_data,
        assign.ext_data,
    )
    if values.count(None) == len(values):
        return ()
    check_texts(
        {
            "owner": assign.owner,
            "rollback_reason": assign.rollback_reason,
            "result": assign.result,
            "options": options,
            "custom_data": assign.custom_data,
        }
    )
    return values


def transaction_of(row: Row[Any], clock: WallClock) -> Transaction:
    """Return the transaction of a full row of trans_global.

    Raises Invalid when another program wrote a status that the protocol does not know.
    """
    try:
        status = Status(row.status)
    except ValueError as error:
        raise Invalid(f"gid {row.gid} is stored with the unknown status '{row.status}'") from error
    return Transaction(
        gid=row.gid,
        trans_type=row.trans_type,
        status=status,
        protocol=row.protocol,
        query_prepared=row.query_prepared,
        options=decode_options(row.options),
        custom_data=row.custom_data or "",
        result=row.result or "",
        rollback_reason=row.rollback_reason or "",
        create_time=clock.time(row.create_time) or EPOCH,
        update_time=clock.time(row.update_time) or EPOCH,
        finish_time=clock.time(row.finish_time),
        rollback_time=clock.time(row.rollback_time),
        next_cron_interval=row.next_cron_interval or 0,
        next_cron_time=clock.time(row.next_cron_time) or EPOCH,
        owner=row.owner,
        ext_data=row.ext_data or "",
        id=row.id,
    )


def branch_of(row: Row[Any], clock: WallClock) -> Branch:
    """Return the branch of a full row of trans_branch_op; raises Invalid as transaction_of does."""
    try:
        status = BranchStatus(row.status)
    except ValueError as error:
        raise Invalid(f"gid {row.gid} has a branch with the unknown status '{row.status}'") from error
    return Branch(
        gid=row.gid,
        branch_id=row.branch_id,
        op=row.op,
        url=row.url,
        payload=row.bin_data or (row.data or "").encode(),
        status=status,
        create_time=clock.time(row.create_time) or EPOCH,
        update_time=clock.time(row.update_time) or EPOCH,
        finish_time=clock.time(row.finish_time),
        rollback_time=clock.time(row.rollback_time),
        id=row.id,
    )
