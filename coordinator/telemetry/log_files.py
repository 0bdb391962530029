"""Log files: opened at start, rotated and cleared away as lumberjack's keys say (PROTOCOL §13).

The file itself is loguru's: it opens a moved one anew, rotates and packs.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from loguru._file_sink import FileSink  # not by logger.add(path): a full disk must be ours to meet

from coordinator.errors import StartError
from coordinator.telemetry.guarded import Guarded

_MEGABYTE: Final = 1024 * 1024
_DAY: Final = 86_400  # seconds
_OPEN_SECONDS: Final = 10.0
_SIZE_DEFAULT: Final = 100  # megabytes, lumberjack's


def open_file(
    path: str, how: Mapping[str, Any], *, say_lost: Callable[[int, str], str], key: str = "Log.Outputs"
) -> Guarded:
    """Open a log file, appending. how: rotation, retention, compression or watch, as loguru takes them.

    say_lost: see Guarded. key: where the path was configured. Raises StartError for a file that cannot be
    written, or does not open in time.
    """
    try:
        file = _opened(path, how)
    except TimeoutError as error:
        raise StartError(
            f"the log file {path} does not open: nothing happened for {_OPEN_SECONDS:.0f} s",
            f"look at {key} in the configuration: the disk hangs, or it is a pipe that nobody reads",
        ) from error
    except OSError as error:
        raise StartError(
            f"the log file {path} cannot be written: {error.strerror or error}",
            f"look at {key} in the configuration, and at who may write there",
        ) from error
    return Guarded(file, close=file.stop, say_lost=say_lost)


def _opened(path: str, how: Mapping[str, Any]) -> FileSink:
    """Open it in a thread: a pipe that nobody reads never opens. Raises OSError, TimeoutError among them."""
    opened: queue.SimpleQueue[FileSink | OSError] = queue.SimpleQueue()
    given_up = threading.Event()

    def open_it() -> None:
        try:
            file = FileSink(path, encoding="utf-8", errors="backslashreplace", **how)  # type: ignore[no-untyped-call]
        except OSError as error:
            opened.put(error)
            return
        opened.put(file)
        if given_up.is_set():
            file.stop()  # type: ignore[no-untyped-call]

    threading.Thread(target=open_it, name="opening a log file", daemon=True).start()
    try:
        file = opened.get(timeout=_OPEN_SECONDS)
    except queue.Empty:
        given_up.set()
        raise TimeoutError from None
    if isinstance(file, OSError):
        raise file
    return file


def rotating(rotation: Mapping[str, Any]) -> dict[str, Any]:
    """What loguru has to do for lumberjack's keys. Raises StartError when a key's value is no number."""
    backups_max, days_max = _number(rotation, "maxbackups"), _number(rotation, "maxage")
    how: dict[str, Any] = {"rotation": (_number(rotation, "maxsize") or _SIZE_DEFAULT) * _MEGABYTE}
    if backups_max or days_max:
        how["retention"] = lambda found: clear_away(
            found, backups_max=backups_max, days_max=days_max, now=time.time()
        )
    if rotation.get("compress") is True:
        how["compression"] = "gz"
    return how


def clear_away(found: list[str], *, backups_max: int, days_max: int, now: float) -> None:
    """Delete rotated files: those older than `days_max` days, and all but the newest `backups_max`.

    0 is no bound. now: seconds since 1970.
    """
    newest_first = sorted(((Path(name).stat().st_mtime, name) for name in found), reverse=True)
    for place, (written, name) in enumerate(newest_first):
        too_many = backups_max and place >= backups_max
        too_old = days_max and now - written > days_max * _DAY
        if too_many or too_old:
            Path(name).unlink(missing_ok=True)


def _number(rotation: Mapping[str, Any], key: str) -> int:
    value = rotation.get(key) or 0
    if type(value) is not int or value < 0:
        raise StartError(f"Log.RotationConfigJSON: {key} must be a whole number, not {value!r}")
    return value
