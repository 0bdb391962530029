"""Endpoints and holds, as JSON has them. Times are RFC 3339."""

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from coordinator.api.render import shown_time
from coordinator.api.render_operate import OperateRenderer
from coordinator.hold import Hold
from coordinator.service.endpoints import HoldPreview, Seen

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EndpointRenderer:
    """zone: in which times are shown; None is the process's own."""

    zone: tzinfo | None

    def endpoint(self, it: Seen) -> Json:
        """One endpoint. What is stuck is that of all who share the store; all else is seen from here."""
        lately = it.lately
        return {
            "endpoint": it.endpoint,
            "running": it.door.running,
            "queue": it.door.waiting,
            "window": it.door.window,
            "calls": {} if lately is None else {str(key): many for key, many in lately.by_result.items()},
            "success_rate": None if lately is None else lately.success_rate,
            "median_seconds": None if lately is None else lately.median,
            "p99_seconds": None if lately is None else lately.p99,
            "at_hand": it.at_hand,
            "stuck": 0 if it.stuck is None else it.stuck.count,
            "stuck_since": None if it.stuck is None else self._time(it.stuck.since),
            "errors": [OperateRenderer(self.zone).group(group) for group in it.errors],
            "hold": None if it.hold is None else self.hold(it.hold),
        }

    def hold(self, it: Hold) -> Json:
        """One hold."""
        return {
            "endpoint": it.endpoint,
            "reason": it.reason,
            "who": it.who,
            "since": self._time(it.since),
            "until": self._time(it.until),
        }

    def preview(self, it: HoldPreview, seen: Seen) -> Json:
        """What a hold would mean. seen: its endpoint, as it may be shown."""
        return {
            "hold": self.hold(it.hold),
            "endpoint": self.endpoint(seen),
            "sentences": list(it.sentences),
        }

    def _time(self, moment: datetime) -> str | None:
        return shown_time(moment, self.zone)
