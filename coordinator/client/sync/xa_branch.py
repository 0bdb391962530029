"""The branch's side of XA for blocking code (PROTOCOL §7, §12)."""

from types import TracebackType
from typing import Any

from coordinator.client.portal import Portal
from coordinator.client.xa import branch as _xa_branch


class XaBranch:
    """A `coordinator.client.XaBranch` of blocking code; made by `Dtm.xa_branch` (PROTOCOL §7, §12)."""

    def __init__(self, inner: _xa_branch.XaBranch, portal: Portal) -> None:
        self._inner = inner
        self._portal = portal

    def __enter__(self) -> _xa_branch.XaTransaction:
        entered = self._portal.call(self._inner.__aenter__)
        connection: Any = entered.connection.connection  # the driver's own
        return _xa_branch.XaTransaction(entered.runs, connection)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.call(lambda: self._inner.__aexit__(kind, error, traceback))
