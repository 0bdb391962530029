"""May this change be applied to this row, and what becomes of it? Every store's rule (PROTOCOL §9). Pure."""

from enum import Enum

from coordinator.model import Transaction
from coordinator.store.base import Assign, Change


class Verdict(Enum):
    """What to do with a change, given the stored row."""

    APPLY = "apply"
    STANDS = "stands"  # it was applied before: the answer got lost, not the commit
    REFUSE = "refuse"


def verdict(change: Change, status: str, owner: str) -> Verdict:
    """Compare the stored status and owner with what the change expects.

    A change that stands already is recognised by the status it leads to, held by the owner it leaves: the one
    it assigns, else its own fence. A finishing change assigns the empty owner, so a row at that status that
    nobody holds counts as well; it may have been finished by another, but it is what was asked for.
    """
    if status in change.expected and (change.owner is None or change.owner == owner):
        return Verdict.APPLY
    assign = change.assign
    if assign.status is None or assign.status != status:
        return Verdict.REFUSE
    left_with = assign.owner if assign.owner is not None else change.owner
    return Verdict.STANDS if left_with == owner else Verdict.REFUSE


def assigned(transaction: Transaction, assign: Assign) -> Transaction:
    """The transaction as it stands after the assignment was stored."""
    now, new = transaction, assign  # written out, since `replace` takes three times as long
    return Transaction(
        now.gid,
        now.trans_type,
        now.status if new.status is None else new.status,
        now.protocol,
        now.query_prepared,
        now.options if new.options is None else new.options,
        now.custom_data if new.custom_data is None else new.custom_data,
        now.result if new.result is None else new.result,
        now.rollback_reason if new.rollback_reason is None else new.rollback_reason,
        now.create_time,
        now.update_time,
        now.finish_time,
        now.rollback_time,
        now.next_cron_interval if new.next_cron_interval is None else new.next_cron_interval,
        now.next_cron_time if new.next_cron_time is None else new.next_cron_time,
        now.owner if new.owner is None else new.owner,
        now.ext_data if new.ext_data is None else new.ext_data,
        now.id,
    )
