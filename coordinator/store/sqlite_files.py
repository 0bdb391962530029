"""The files of a SQLite database, held against other processes and looked after while they are open.

A file that was deleted or replaced under an open connection still takes writes: they are gone with the
connection. So each transaction ends with a look at whether the names still lead to the files that are open.
"""

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final

from coordinator.errors import StartError
from coordinator.store.faults import FileReplaced

# SQLite makes them with the first transaction and keeps them while the file is open.
_BESIDE: Final = ("-wal", "-shm")

_Identity = tuple[int, int] | None  # device and inode; None: no such file


class SqliteFiles:
    """Locked against a second process, or a second store of this one. Raises StartError."""

    def __init__(self, path: str) -> None:
        real = os.path.realpath(path)  # SQLite follows a link before it names what stands beside
        self._lock = _locked(path, f"{real}.lock")
        names = (path, f"{real}.lock", *(real + suffix for suffix in _BESIDE))
        self._paths = names
        self._opened: list[_Identity] = [None] * len(names)  # None: not seen yet
        self.are_replaced = False  # as the last look found

    def look(self) -> None:
        """Raise FileReplaced when a file is not there any more, or is not the one that was there at first.

        To be called after a transaction on an open connection; it compares names alone and opens nothing.
        """
        found = [_identity(path) for path in self._paths]
        if found != self._opened:
            self._compare(found)
        self.are_replaced = False

    def _compare(self, found: list[_Identity]) -> None:
        for path, now, opened in zip(self._paths, found, self._opened, strict=True):
            if opened is not None and now != opened:
                self.are_replaced = True
                raise FileReplaced(
                    f"the SQLite file {path} was deleted or replaced while it was open;"
                    " put it back, or restart the coordinator to work with what is there now"
                )
        self._opened = found

    def release(self) -> None:
        """Let others have the files."""
        self._lock.close()


class NoFiles:
    """A database in memory, which nobody can take away."""

    are_replaced = False

    def look(self) -> None:
        """Nothing."""

    def release(self) -> None:
        """Nothing."""


def make_private(path: str) -> None:
    """Make the file, for its owner's eyes alone, unless it is there; a link is followed. Raises OSError.

    One that is there is not even opened: to close it would end the locks that this process has on it.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(os.path.realpath(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _identity(path: str) -> _Identity:
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path would take three times as long
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def uri_of(path: str) -> str:
    """As sqlite3 opens a file that is there, and makes none."""
    return f"{Path(os.path.abspath(path)).as_uri()}?mode=rw"  # noqa: PTH100 - a Path would follow links first


def _locked(path: str, lock: str) -> sqlite3.Connection:
    """Hold the exclusive transaction on the lock that keeps others out; it ends with the process."""
    try:
        make_private(path)  # SQLite gives its companions, -wal and -shm, the same mode
        make_private(lock)
        connection = sqlite3.connect(
            uri_of(lock), uri=True, timeout=0, isolation_level=None, check_same_thread=False
        )
        connection.execute("BEGIN EXCLUSIVE")
    except (sqlite3.OperationalError, OSError) as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            raise StartError(
                f"another process has the SQLite file {path} open",
                "stop it, or give this coordinator a file of its own with Store.Path",
            ) from error
        raise StartError(
            f"cannot open the SQLite file {path}: {getattr(error, 'strerror', None) or error}",
            "its folder must exist and be writable; see Store.Path",
        ) from error
    return connection
