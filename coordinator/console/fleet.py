"""The coordinators that share the store, and the record of who did what."""

from collections.abc import Sequence
from typing import Final

from coordinator.access.permissions import Permission, looks
from coordinator.api.listing import position
from coordinator.console.page import Content, Page, Shown, Visit
from coordinator.service.operate import Operate
from coordinator.service.recorded import in_words
from coordinator.store.operate_tables import AUDIT_WINDOW

_RECORDS: Final = 100
_FILTER_MAX: Final = 200  # characters
_WORDS_MAX: Final = 8


class FleetPages:
    """Both only look."""

    def __init__(self, operate: Operate) -> None:
        self._operate = operate

    def all(self) -> Sequence[Page]:
        """The pages."""
        return (
            Page("GET", "/nodes", looks(Permission.READ), self._nodes, place=60),
            Page("GET", "/audit", looks(Permission.AUDIT_READ), self._audit, place=70),
        )

    async def _nodes(self, _: Visit) -> Content:
        roll = await self._operate.nodes()
        seen = sorted(roll.seen, key=lambda it: it.node.name)
        return Shown("nodes.html", {"seen": seen, "alive": roll.alive(), "now": roll.now})

    async def _audit(self, visit: Visit) -> Content:
        before_id = position({"position": visit.query.get("after", "")})
        wanted = visit.query.get("filter", "").strip()[:_FILTER_MAX]
        words = wanted.split()[:_WORDS_MAX]
        if words and before_id is None:  # what is looked at is reckoned from the newest
            newest = await self._operate.audit(limit=1, before_id=None)
            before_id = newest[0]["id"] + 1 if newest else None
        rows = await self._operate.audit(limit=_RECORDS + 1, before_id=before_id, words=words)
        after = str(rows[_RECORDS - 1]["id"]) if len(rows) > _RECORDS else ""
        is_part = bool(words and not after and before_id and before_id > AUDIT_WINDOW)
        if is_part and before_id:
            after = str(before_id - AUDIT_WINDOW)
        return Shown(
            "audit.html",
            {
                "records": rows[:_RECORDS],
                "after": after,
                "wanted": wanted,
                "words_of": in_words,
                "looked_at": AUDIT_WINDOW if is_part else 0,
            },
        )
