"""go-zero's `Log` section: where a service's log lines go, and how they look."""

import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from loguru import logger

from branches.settings import LogSection
from coordinator.client.service import (
    Form,
    Secrets,
    add_file,
    add_stream,
    shown_level,
    stacks,
    take_over_logging,
)

if TYPE_CHECKING:
    from loguru import Record

# What ranks from which level on. go-zero writes slow lines unless only `severe` ones are wanted.
_LEVELS: Final = {"debug": "DEBUG", "info": "INFO", "error": "WARNING", "severe": "SEVERE"}
_FILES: Final = {  # go-zero's files, and the levels that it writes to each
    "access.log": ("debug", "info", "warn"),
    "error.log": ("error", "alert"),
    "severe.log": ("fatal",),
    "slow.log": ("slow",),
    "stat.log": ("stat",),
}
_MEGABYTE: Final = 1024 * 1024


def configure_service_logging(section: LogSection, name: str, secrets: tuple[str, ...] = ()) -> None:
    """Send log lines where the section says, in place of what was set up before.

    name: of the service, unless the section has one; `volume` makes it a folder. Raises StartError of
    coordinator.client.service for a file that cannot be written.
    """
    logger.remove()
    level, form = _LEVELS[section.level], Form(Secrets(secrets))
    stacks.cooldown_seconds = section.stack_cooldown_millis / 1000
    if section.mode == "console":
        text = section.encoding == "plain" or (not section.encoding and sys.stderr.isatty())
        add_stream(sys.stderr, level, form, text=text)
    else:
        folder = Path(section.path)
        if section.mode == "volume":  # several services, and instances of one, share it
            folder = folder / (section.service_name or name) / socket.gethostname()
        for file, levels in _FILES.items():
            _add_file(folder / file, levels, level, form, section)
    take_over_logging(level)


def _add_file(path: Path, levels: tuple[str, ...], level: str, form: Form, section: LogSection) -> None:
    def is_for_this_file(record: "Record") -> bool:
        return shown_level(record) in levels

    how: dict[str, Any] = {"rotation": "00:00"}
    if section.rotation == "size":
        how["rotation"] = (section.max_size or 100) * _MEGABYTE
    if section.rotation == "size" and section.max_backups:
        how["retention"] = section.max_backups
    elif section.keep_days:
        how["retention"] = timedelta(days=section.keep_days)
    if section.compress:
        how["compression"] = "gz"
    add_file(
        str(path), level, form, how, text=section.encoding == "plain", key="Log.Path", filter=is_for_this_file
    )
