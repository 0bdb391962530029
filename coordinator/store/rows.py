"""Between the model and stored rows, both ways: values as columns hold them, times as wall clock."""

from collections import namedtuple
from collections.abc import Sequence
from typing import Any, Final

from coordinator.errors import DtmError, Invalid
from coordinator.model import EPOCH, Branch, BranchStatus, Status, Transaction
from coordinator.store.base import Assign, Change, Move, Stored
from coordinator.store.fence import assigned
from coordinator.store.gathered import Insertion, Update
from coordinator.store.limits import check_branches, check_texts, check_transaction
from coordinator.store.options import decode_options, encode_options
from coordinator.store.statements import BRANCH_COLUMNS, GLOBAL_COLUMNS, AssignedValues, Values
from coordinator.store.takeovers import Recalled, Takeover
from coordinator.store.wall_clock import WallClock

_GlobalRow = namedtuple("_GlobalRow", GLOBAL_COLUMNS)  # type: ignore[misc]  # as the statements have them
_BranchRow = namedtuple("_BranchRow", BRANCH_COLUMNS)  # type: ignore[misc]
_INTERVAL_MAX: Final = 2**31 - 1  # seconds: what the column holds on a server


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


def takeover_of(move: Move, known: Stored | None, clock: WallClock) -> Takeover:
    """Return the move with what it needs to read and write rows. known: what may be stored still."""

    def stored(row: Values, branches: Sequence[Values]) -> Stored:
        transaction = transaction_of(_GlobalRow._make(row), clock)
        return Stored(transaction, tuple([branch_of(_BranchRow._make(one), clock) for one in branches]))

    recalled = _recalled(move, known, clock) if known is not None else None
    return Takeover(move.gid, move, stored, lambda assign: assigned_values(assign, clock), recalled)


def _recalled(move: Move, known: Stored, clock: WallClock) -> Recalled | None:
    """The move as it will be if nobody else has written; None where that would refuse it."""
    transaction, branches = known.transaction, known.branches
    if transaction.status not in move.expected or transaction.trans_type != move.trans_type:
        return None
    try:
        assign = move.assign(known)
        values = assigned_values(assign, clock)
    except DtmError:
        return None
    after = Stored(assigned(transaction, assign), branches)
    due = clock.text_rounded_up(transaction.next_cron_time)
    return Recalled(transaction.status.value, due, len(branches), values, after)


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


def transaction_of(row: Any, clock: WallClock) -> Transaction:
    """Return the transaction of a full row of trans_global.

    Any program may have written it, and a SQLite column holds values of any kind: what is not of the
    column's kind is read as near to it as can be. Raises Invalid for a status that the protocol does not
    know, and for nothing else.
    """
    try:
        status = Status(row.status)
    except ValueError as error:
        raise Invalid(
            f"gid {text_of(row.gid)} is stored with the unknown status '{text_of(row.status)}'"
        ) from error
    return Transaction(
        gid=text_of(row.gid),
        trans_type=text_of(row.trans_type),
        status=status,
        protocol=text_of(row.protocol),
        query_prepared=text_of(row.query_prepared),
        options=decode_options(text_of(row.options)),
        custom_data=text_of(row.custom_data),
        result=text_of(row.result),
        rollback_reason=text_of(row.rollback_reason),
        create_time=clock.time(row.create_time) or EPOCH,
        update_time=clock.time(row.update_time) or EPOCH,
        finish_time=clock.time(row.finish_time),
        rollback_time=clock.time(row.rollback_time),
        next_cron_interval=_interval_of(row.next_cron_interval),
        next_cron_time=clock.time(row.next_cron_time) or EPOCH,
        owner=text_of(row.owner),
        ext_data=text_of(row.ext_data),
        id=row.id,
    )


def branch_of(row: Any, clock: WallClock) -> Branch:
    """Return the branch of a full row of trans_branch_op; raises Invalid as transaction_of does."""
    try:
        status = BranchStatus(row.status)
    except ValueError as error:
        raise Invalid(
            f"gid {text_of(row.gid)} has a branch with the unknown status '{text_of(row.status)}'"
        ) from error
    return Branch(
        gid=text_of(row.gid),
        branch_id=text_of(row.branch_id),
        op=text_of(row.op),
        url=text_of(row.url),
        payload=_bytes_of(row.bin_data) or _bytes_of(row.data),
        status=status,
        create_time=clock.time(row.create_time) or EPOCH,
        update_time=clock.time(row.update_time) or EPOCH,
        finish_time=clock.time(row.finish_time),
        rollback_time=clock.time(row.rollback_time),
        id=row.id,
    )


def text_of(value: object) -> str:
    """What stands in a column of text, whatever stands there; "" for NULL."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return "" if value is None else str(value)


def _bytes_of(value: object) -> bytes:
    return value if isinstance(value, bytes) else text_of(value).encode(errors="replace")


def _interval_of(value: object) -> int:
    return min(max(value, 0), _INTERVAL_MAX) if isinstance(value, int) else 0
