"""Whether people can log in: where they are asked who they are, and what that takes is installed."""

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Optional

from coordinator.access.permissions import Mode
from coordinator.access.recorder import Recorder
from coordinator.clock import SystemClock
from coordinator.config.settings import Settings
from coordinator.server.installed import missing_of_console
from coordinator.server.tasks import Tasks
from coordinator.store.sql import SqlStore
from coordinator.watching.readiness import Readiness

if TYPE_CHECKING:
    from coordinator.server.log_in import SigningIn


def open_sign_in(
    settings: Settings,
    store: SqlStore,
    clock: SystemClock,
    readiness: Readiness,
    tasks: Tasks,
    recorder: Recorder,
    opened: AsyncExitStack,
) -> Optional["SigningIn"]:
    """What lets people in; None where nobody is asked who they are, or can be. Its owner ends the tasks."""
    if Mode(settings.access.mode) is Mode.OFF or missing_of_console():
        return None
    from coordinator.server.log_in import open_log_in

    return open_log_in(settings, store, clock, readiness, tasks, recorder, opened)
