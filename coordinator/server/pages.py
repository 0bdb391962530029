"""The console over everything that was made: what its pages show, and what tells them that it has changed."""

from collections.abc import Mapping

from coordinator import __version__
from coordinator.api.room import Room
from coordinator.clock import SystemClock
from coordinator.config.read import access_remark, shown_values
from coordinator.config.settings import Settings
from coordinator.console.build import build_console
from coordinator.console.console import Console
from coordinator.console.inbox import Figures
from coordinator.console.links import LinkTemplates
from coordinator.console.live import BEAT_SECONDS, Live
from coordinator.console.rendering import Surroundings
from coordinator.console.settings import Setting
from coordinator.server.log_in import SigningIn
from coordinator.server.observing import Observing
from coordinator.server.tasks import Tasks
from coordinator.service import Operations
from coordinator.watching.census import Census
from coordinator.watching.pace import SAMPLE_SECONDS, Pace, Totals


class Pages:
    """See Looking, which knows it only where its libraries are installed."""

    def __init__(
        self,
        settings: Settings,
        clock: SystemClock,
        operations: Operations,
        census: Census,
        observing: Observing,
        tasks: Tasks,
        signing_in: SigningIn | None,
        sources: Mapping[str, str],
    ) -> None:
        metrics = observing.metrics
        pace = Pace(lambda: Totals(*metrics.ended_totals(), metrics.handled_totals()), clock.monotonic)
        self._operations = operations
        self._signing_in = signing_in
        self._figures = Figures(census, pace)
        self._live = Live(operations.overview)
        self._base = settings.admin_base_path
        defaults = dict(shown_values(Settings()))
        self._settings = [
            Setting(key, value, value == defaults[key], sources.get(key, ""))
            for key, value in shown_values(settings)
        ]
        self._links = LinkTemplates(settings.links.trace, settings.links.logs)
        self._surroundings = Surroundings(
            settings.instance_name, __version__, settings.time_zone, clock.now, access_remark(settings)
        )
        tasks.repeat(pace.beat, "pace", seconds=SAMPLE_SECONDS)
        tasks.repeat(self._live.beat, "live pages", seconds=BEAT_SECONDS)

    def console(self, room: Room) -> Console:
        """The console, over the room of requests' bytes."""
        return build_console(
            *(self._operations, self._figures, self._surroundings, self._live, room),
            sign_in=self._signing_in.pages if self._signing_in else None,
            keys=self._signing_in.keys if self._signing_in else None,
            base=self._base,
            links=self._links,
            settings=self._settings,
        )

    def close(self) -> None:
        """End what pages listen to."""
        self._live.close()
