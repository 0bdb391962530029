"""What this process wrote of transactions that are prepared, so that a move may be worked out without a read.

It may be out of date at any time, since other processes write as well: whoever uses it has the database
compare what it rests on. Bounded: the oldest is forgotten first.
"""

from collections import OrderedDict
from typing import Final

from coordinator.model import Status
from coordinator.store.base import Assign, Change, Stored, payload_bytes

_NOTHING: Final = Assign()
_TRANSACTIONS_MAX: Final = 4096
_BYTES_MAX: Final = 8 << 20  # of payloads


class Recall:
    """Prepared transactions by gid."""

    def __init__(self, *, transactions_max: int = _TRANSACTIONS_MAX, bytes_max: int = _BYTES_MAX) -> None:
        self._stored: OrderedDict[str, Stored] = OrderedDict()
        self._transactions_max = transactions_max
        self._bytes_max = bytes_max
        self._bytes = 0

    def inserted(self, stored: Stored) -> None:
        """Remember a new transaction, if it is only prepared."""
        if stored.transaction.status is Status.PREPARED:
            self._put(stored)

    def changed(self, change: Change) -> None:
        """Follow a change that stands: branches that were added; anything else ends what is known."""
        stored = self.take(change.gid)
        if stored is None or not change.added or change.results or change.assign != _NOTHING:
            return
        known = {branch.key for branch in stored.branches}
        new = [branch for branch in change.added if branch.key not in known]
        self._put(Stored(stored.transaction, (*stored.branches, *new)))

    def take(self, gid: str) -> Stored | None:
        """What is known of it, and known no longer."""
        stored = self._stored.pop(gid, None)
        if stored is not None:
            self._bytes -= payload_bytes(stored.branches)
        return stored

    def _put(self, stored: Stored) -> None:
        self.take(stored.transaction.gid)
        self._stored[stored.transaction.gid] = stored
        self._bytes += payload_bytes(stored.branches)
        while len(self._stored) > self._transactions_max or self._bytes > self._bytes_max:
            self.take(next(iter(self._stored)))
