"""May this change be applied to this row? The one rule every store shares (PROTOCOL §9). Pure."""

from enum import Enum

from coordinator.store.base import Change


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
