"""Bulk jobs as JSON has them. Times are RFC 3339."""

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from coordinator.api.render import shown_time
from coordinator.owner import SEPARATOR
from coordinator.service.bulk_plan import Plan
from coordinator.store.bulk_rows import Item, Job, State

WAITING = "waiting"  # what is shown in the place of a result that there is not yet

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BulkRenderer:
    """zone: in which times are shown; None is the process's own."""

    zone: tzinfo | None

    def plan(self, it: Plan) -> Json:
        """What an action would be asked of."""
        return {
            "action": it.action.value,
            "filter": it.filter,
            "id_max": it.id_max,
            "count": it.count,
            "eligible": it.eligible,
            "groups": [
                {
                    "is_allowed": not group.why_not,
                    "why_not": group.why_not,
                    "count": group.count,
                    "examples": list(group.examples),
                }
                for group in it.groups
            ],
        }

    def job(self, it: Job) -> Json:
        """One job, as far as it has come."""
        is_worked_on = it.state is State.RUNNING and bool(it.owner)
        return {
            "id": it.id,
            "action": it.action,
            "filter": it.filter,
            "id_max": it.id_max,
            "state": it.state.value,
            "count": it.items,
            "waiting": it.waiting,
            "done": it.counts.done,
            "not_eligible": it.counts.not_eligible,
            "refused": it.counts.refused,
            "failed": it.counts.failed,
            "rate": it.rate,
            "reason": it.reason,
            "who": it.who,
            "needs": it.needs,
            "source": it.source,
            "coordinator": it.owner.rsplit(SEPARATOR, 2)[0] if is_worked_on else "",
            "made": self._time(it.made),
            "ended": self._time(it.ended),
        }

    def item(self, it: Item) -> Json:
        """One transaction of a job, and how it went."""
        return {
            "number": it.number,
            "gid": it.gid,
            "result": WAITING if it.result is None else it.result.value,
            "said": it.said,
            "at": self._time(it.at),
        }

    def _time(self, moment: datetime | None) -> str | None:
        return shown_time(moment, self.zone)
