"""Whether a file that the configuration names could be written; looks, and changes nothing."""

import os
from pathlib import Path
from typing import Final

_SQLITE_HEADER: Final = b"SQLite format 3\x00"


def problem_of_file(path: Path, *, folders_are_made: bool = False) -> str:
    """Why the file cannot be written, as the end of a sentence; empty when it can.

    folders_are_made: whether the program makes the folders that are not there.
    """
    try:
        return _problem(path, folders_are_made)
    except (OSError, ValueError) as error:  # a name that is too long, or has a NUL
        return f"cannot be looked at: {getattr(error, 'strerror', None) or error}"


def problem_of_database(path: Path) -> str:
    """The same of a SQLite file: its folder, too, since it gets companions, and what it holds already."""
    problem = problem_of_file(path)
    if problem:
        return problem
    if path.exists():
        if not _may_write(path.parent):
            return f"is in the folder {path.parent}, which this user may not write to"
        try:
            with path.open("rb") as stream:
                begin = stream.read(len(_SQLITE_HEADER))
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"
        if begin not in {b"", _SQLITE_HEADER}:
            return "is there already, and is not a database of SQLite"
    return ""


def _problem(path: Path, folders_are_made: bool) -> str:
    if path.is_dir():
        return "is a folder, not a file"
    if path.exists():
        return "" if _may_write(path) else "may not be written by this user"
    folder = path.parent
    while folders_are_made and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.exists():
        return f"is in the folder {folder}, which does not exist"
    if not folder.is_dir():
        return f"is below {folder}, which is no folder"
    return "" if _may_write(folder) else f"is to be made in {folder}, which this user may not write to"


def _may_write(path: Path) -> bool:
    effective = os.access in os.supports_effective_ids
    return os.access(path, os.W_OK | (os.X_OK if path.is_dir() else 0), effective_ids=effective)
