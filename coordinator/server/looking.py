"""What people look at: the console, where its libraries are installed."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol

from coordinator.api.http_calls import HttpCall
from coordinator.api.room import Room
from coordinator.clock import SystemClock
from coordinator.config.settings import Settings
from coordinator.server.installed import NotInstalled, missing_of_console
from coordinator.server.observing import Observing
from coordinator.server.tasks import Tasks
from coordinator.service import Operations
from coordinator.watching.census import Census

if TYPE_CHECKING:
    from coordinator.server.log_in import SigningIn

Sources = Mapping[str, str]  # where each setting was written, by key, as people are told


class Shown(Protocol):
    """What is answered to people."""

    def calls(self) -> Sequence[HttpCall]:
        """Every page."""
        ...


class Looking:
    """Makes the console for whoever opens the ports. Its owner ends the tasks, and calls `close` before."""

    def __init__(
        self,
        settings: Settings,
        clock: SystemClock,
        operations: Operations,
        census: Census,
        observing: Observing,
        tasks: Tasks,
        signing_in: "SigningIn | None",
        sources: Sources,
    ) -> None:
        self._base = settings.admin_base_path
        self._missing = missing_of_console()
        if not self._missing:
            from coordinator.server.pages import Pages

            self._pages = Pages(settings, clock, operations, census, observing, tasks, signing_in, sources)

    def console(self, room: Room) -> Shown:
        """The console, over the room of requests' bytes; without its libraries what says which is missing."""
        if self._missing:
            return NotInstalled(self._missing, self._base)
        return self._pages.console(room)

    def close_with(self, opened: AsyncExitStack) -> None:
        """End what pages listen to before anything that was opened earlier is closed."""
        if not self._missing:
            opened.callback(self._pages.close)
