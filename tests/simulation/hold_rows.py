"""What is held, in memory: the table of all coordinators of a simulated world."""

from collections.abc import Sequence
from datetime import datetime

from coordinator.errors import StoreUnavailable
from coordinator.hold import Hold
from coordinator.store.own_rows import OwnRow


class HoldRows:
    """See HoldTable. is_away: every question is refused."""

    def __init__(self) -> None:
        self.rows: dict[str, Hold] = {}
        self.records: list[OwnRow] = []
        self.reads = 0
        self.is_away = False

    async def standing(self, now: datetime) -> Sequence[Hold]:
        self._ask()
        self.reads += 1
        return [hold for hold in self.rows.values() if hold.stands(now)]

    async def put(self, hold: Hold, records: Sequence[OwnRow]) -> bool:
        self._ask()
        self.rows[hold.endpoint] = hold
        self.records += records
        return True

    async def remove(self, endpoint: str, records: Sequence[OwnRow]) -> bool:
        self._ask()
        if self.rows.pop(endpoint, None) is None:
            return False
        self.records += records
        return True

    def _ask(self) -> None:
        if self.is_away:
            raise StoreUnavailable("the store is away")
