"""Which endpoint is not to be called: until when, why, and on whose word. Pure."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing is called at one endpoint for a while: a known outage. Times are aware."""

    endpoint: str  # as calls share places by it: scheme, host and port, or gRPC target
    reason: str
    who: str
    since: datetime
    until: datetime

    def stands(self, now: datetime) -> bool:
        """Whether its time is not over."""
        return now < self.until
