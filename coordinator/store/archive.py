"""Where transactions are written before they are deleted: lines of JSON, on the disk before `add` returns.

A crash between the two has some written twice, whole each time. Blocking: for a thread of its own.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from coordinator.errors import DtmError

BYTES_MAX: Final = 64 << 20  # of a file, about: then it is given a name of its own, and another begun


class ArchiveFailed(DtmError):
    """What was to be kept could not be written."""


class Archive:
    """One file, appended to, for its owner's eyes alone. bytes_max: at which it is put aside."""

    def __init__(self, path: Path, *, bytes_max: int = BYTES_MAX) -> None:
        self._path = path
        self._bytes_max = bytes_max

    def add(self, rows: Sequence[Mapping[str, Any]], now: datetime) -> None:
        """Append a line for each, and return once they are on the disk. Raises ArchiveFailed."""
        lines = b"".join(map(_line, rows))
        try:
            is_new = not self._path.exists()
            descriptor = os.open(self._path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
            try:
                with os.fdopen(descriptor, "ab", closefd=False) as file:
                    file.write(lines)
                os.fsync(descriptor)
                size = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
            if size >= self._bytes_max:
                self._path.rename(self._aside(now))
            if is_new or size >= self._bytes_max:
                _sync_folder(self._path.parent)
        except OSError as error:
            raise ArchiveFailed(
                f"Store.ArchivePath {self._path} cannot be written: {error.strerror or error}"
            ) from error

    def _aside(self, now: datetime) -> Path:
        """A name that is free: `dtm.jsonl` is put aside as `dtm-20260102T030405.jsonl`."""
        stem = f"{self._path.stem}-{now:%Y%m%dT%H%M%S}"
        name, number = self._path.with_name(f"{stem}{self._path.suffix}"), 1
        while name.exists():
            number += 1
            name = self._path.with_name(f"{stem}-{number}{self._path.suffix}")
        return name


def _line(row: Mapping[str, Any]) -> bytes:
    readable = {**row, "branches": [_with_text(it, "bin_data") for it in row["branches"]]}
    if results := row.get("results"):
        readable["results"] = [
            _with_text({"branch_id": branch_id, "content": content}, "content")
            for branch_id, content in results.items()
        ]
    return orjson.dumps(readable, option=orjson.OPT_APPEND_NEWLINE)


def _with_text(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The row with the bytes of this name as text, or in base64, by another name, where they are none."""
    values, content = dict(row), row.get(name)
    if isinstance(content, bytes | memoryview):
        content = bytes(content)
        try:
            values[name] = content.decode()
        except UnicodeDecodeError:
            values[name] = None
            values[f"{name}_base64"] = base64.b64encode(content).decode()
    return values


def _sync_folder(folder: Path) -> None:
    """Have the disk know of a name, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
