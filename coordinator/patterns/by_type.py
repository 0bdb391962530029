"""The five patterns, by trans_type, and the two functions that make one."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from coordinator.model import Branch, BranchStatus, Result, Transaction, TransType
from coordinator.patterns import msg, saga, tcc, workflow, xa
from coordinator.patterns.decision import Decision, Round


class Pattern(Protocol):
    """The two pure functions that make a pattern."""

    def decide(
        self, transaction: Transaction, branches: Sequence[Branch], round: Round, now: datetime
    ) -> Decision:
        """What to do next."""
        ...

    def recorded(self, branch: Branch, result: Result) -> BranchStatus | None:
        """What a result makes of its row."""
        ...


PATTERNS: Final[Mapping[str, Pattern]] = {
    TransType.SAGA: saga,
    TransType.MSG: msg,
    TransType.TCC: tcc,
    TransType.XA: xa,
    TransType.WORKFLOW: workflow,
}
