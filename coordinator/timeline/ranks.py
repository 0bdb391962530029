"""In which order the calls of a transaction come, where their times do not tell. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from coordinator.explain.play import Rows
from coordinator.model import Branch, BranchKey, Op, TransType
from coordinator.patterns.msg import custom_of
from coordinator.patterns.saga import Order, order_of

UNDO: Final = frozenset({Op.COMPENSATE, Op.CANCEL, Op.ROLLBACK})
SECOND: Final = frozenset({Op.CONFIRM, Op.COMMIT})  # come when all first ones are over


def ranks_of(rows: Rows, lanes: Sequence[str]) -> Mapping[BranchKey, int]:
    """The place of each row among those of one second; of rows that are called at once the same.

    lanes: every branch_id, in order.
    """
    depth = _depths(rows, lanes)
    deepest = max(depth.values(), default=0) + 1
    back = rows.transaction.trans_type != TransType.XA

    def rank(branch: Branch) -> int:
        here = depth[branch.branch_id]
        if branch.op in UNDO:
            return 2 * deepest + (deepest - here if back else here)
        if branch.op in SECOND:
            return deepest + (deepest - here if back else here)
        return here

    return {branch.key: rank(branch) for branch in rows.branches}


def _depths(rows: Rows, lanes: Sequence[str]) -> dict[str, int]:
    """How many steps stand before each, one after the other."""
    transaction = rows.transaction
    in_order = {branch_id: at for at, branch_id in enumerate(lanes, start=1)}
    try:
        if transaction.trans_type == TransType.MSG:
            at_once = transaction.options.concurrent or custom_of(transaction.custom_data).concurrent
            return dict.fromkeys(lanes, 1) if at_once else in_order
        if transaction.trans_type != TransType.SAGA:
            return in_order
        order = order_of(transaction.custom_data, transaction.options.concurrent, len(lanes))
    except ValueError:  # nobody knows; as they are registered, then
        return in_order
    return dict(zip(lanes, _levels(order), strict=True))


def _levels(order: Order) -> list[int]:
    levels = [1] * len(order.before)
    after: list[list[int]] = [[] for _ in order.before]
    waits_for = [len(earlier) for earlier in order.before]
    for step, earlier in enumerate(order.before):
        for one in earlier:
            after[one].append(step)
    free = [step for step, number in enumerate(waits_for) if not number]
    while free:
        done = free.pop()
        for step in after[done]:
            levels[step] = max(levels[step], levels[done] + 1)
            waits_for[step] -= 1
            if not waits_for[step]:
                free.append(step)
    return levels
