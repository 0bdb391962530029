"""The stores of a run: what they count and use, and how the rows of one server are emptied and looked at."""

import contextlib
import json
import sqlite3
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from bench.machine import cpu_seconds
from tests.support.processes import Process
from tests.support.servers import Database, MariaDBServer, PostgresServer

_TABLES = ("trans_global", "trans_branch_op")
_SUCCEEDED = "SELECT COUNT(*) FROM trans_global WHERE status = 'succeed' AND gid LIKE '{}-%'"
_OUR_OWN = ("Com_show_status",)  # of the counters: what looking at them moves
_PAGE = 1000
_SECONDS = 30
_LOOKED_BACK_SECONDS = 600  # in a store that may hold years; a run does not last as long


class Rows(Protocol):
    """What one server keeps."""

    def empty(self) -> None:
        """Forget everything, where that can be done from outside."""

    def succeeded(self, run: str) -> int:
        """How many transactions of the run have ended well; their gids begin with `run-`."""


class SqlRows:
    """In a database server."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def empty(self) -> None:
        self._database.execute(";".join(f"TRUNCATE TABLE {table}" for table in _TABLES))

    def succeeded(self, run: str) -> int:
        return int(str(self._database.execute(_SUCCEEDED.format(run))[0][0]))


class SqliteRows:
    """In a SQLite file that its server keeps open."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def empty(self) -> None:
        with contextlib.closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            for table in _TABLES:
                connection.execute(f"DELETE FROM {table}")
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def succeeded(self, run: str) -> int:
        with contextlib.closing(self._connect()) as connection:
            return int(connection.execute(_SUCCEEDED.format(run)).fetchone()[0])

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=_SECONDS, isolation_level=None)


class AskedRows:
    """Of a server that is asked over HTTP, whatever its store."""

    def __init__(self, target: str) -> None:
        """target: host:port."""
        self._url = f"http://{target}/api/dtmsvr/all"

    def empty(self) -> None:
        """Nothing: it is somebody else's."""

    def succeeded(self, run: str) -> int:
        counted: int = 0
        position = ""
        since = round(1000 * (time.time() - _LOOKED_BACK_SECONDS))
        while True:
            asked = {"status": "succeed", "createTimeStart": since, "limit": _PAGE, "position": position}
            with urllib.request.urlopen(
                f"{self._url}?{urllib.parse.urlencode(asked)}", timeout=_SECONDS
            ) as it:
                page = json.load(it)
            gids = [row["gid"] for row in page["transactions"] or ()]
            counted += sum(gid.startswith(f"{run}-") for gid in gids)
            position = page["next_position"]
            if not position:
                return counted


class FileRows:
    """Of a server whose own file only it can read: begun anew with an empty one."""

    def __init__(self, process: Process, file: Path, target: str) -> None:
        self._process, self._file = process, file
        self._asked = AskedRows(target)

    def empty(self) -> None:
        self._process.stop()
        self._file.unlink(missing_ok=True)
        self._process.start()

    def succeeded(self, run: str) -> int:
        return self._asked.succeeded(run)


class DatabaseServer:
    """The database server of a run, and what it counts; nothing for an embedded store."""

    def __init__(self, server: MariaDBServer | PostgresServer | None) -> None:
        self._server = server
        self._looks = 0
        # One connection for the whole run: each new one would be counted.
        self._looking = server.database().connect() if isinstance(server, MariaDBServer) else None

    def create_database(self, name: str, schema: Path | None = None) -> Database:
        """A new database on it."""
        assert self._server is not None
        return self._server.create_database(name, schema=schema)

    def cpu(self) -> float | None:
        """Seconds of processor time so far."""
        return None if self._server is None else cpu_seconds(self._server.process().pid)

    def counters(self) -> Mapping[str, int]:
        """What it has counted so far: MariaDB's Questions, Connections and Com_*, but for our looking."""
        if self._looking is None:
            return {}
        with self._looking.cursor() as cursor:
            cursor.execute(
                "SHOW GLOBAL STATUS WHERE Variable_name IN ('Questions', 'Connections')"
                " OR Variable_name LIKE 'Com\\_%'"
            )
            found = {str(name): int(value) for name, value in cursor.fetchall() if name not in _OUR_OWN}
        self._looks += 1
        return {**found, "Questions": found["Questions"] - self._looks}

    def close(self) -> None:
        """Hang up."""
        if self._looking is not None:
            self._looking.close()
