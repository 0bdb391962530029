"""Throw-away MariaDB, PostgreSQL, etcd and Redis: own ports, own folder, ended by their own pid.

    with MariaDBServer() as server:
        database = server.create_database(schema="CREATE TABLE t (id int)")
        server.kill()   # SIGKILL
        server.start()  # again, same port and data

Nothing here knows pytest, so benchmarks and scripts use them as well. All methods block.
"""

import contextlib
import itertools
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import pymysql
from pymysql.constants import CLIENT

from tests.support import programs
from tests.support.ports import HOST, answers, free_port, is_listening
from tests.support.processes import Process, as_user, children_of, is_alive


class ThrowAwayServer:
    """What the servers have in common: a data folder that outlives restarts and goes with `close()`."""

    requirement: programs.Requirement

    def __init__(self) -> None:
        """Raise MissingProgram when the machine lacks the programs. Nothing is started yet."""
        programs.require(self.requirement)
        self.host = HOST
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"dtm-{self.requirement.name}-"))
        self._process: Process | None = None

    @property
    def is_running(self) -> bool:
        """True when the server runs."""
        return self._process is not None and self._process.is_running

    def start(self) -> Self:
        """Start, or start again on the same port and data; return when it answers. Nothing if it runs."""
        if not self.is_running:
            if self._process is None:
                self._process = self._prepare()
            self._process.start()
        return self

    def stop(self) -> None:
        """SIGTERM: an orderly shutdown."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """SIGKILL: as if it had crashed. The operating system keeps what the server had written."""
        if self._process is not None:
            self._process.kill()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, and nobody answers."""
        self.process().send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT: the end of `freeze`. Nothing happens when it does not run."""
        if self.is_running:
            self.process().send_signal(signal.SIGCONT)

    def process(self) -> Process:
        """Return the process, for its pid, its output or a signal."""
        assert self._process is not None, "not started"
        return self._process

    def close(self) -> None:
        """End it at once and remove its data: nobody needs them any more."""
        if self._process is not None:
            self._process.kill()
            self._process.close()
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _prepare(self) -> Process:
        """Fill the data folder and describe the process."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Database:
    """One database on a throw-away server; user root, no password.

    What tests do from outside stands here for each kind of database: MySQL's way here, others override it.
    """

    host: str
    port: int
    name: str
    user: str = "root"
    password: str = ""

    @property
    def go_dsn(self) -> str:
        """The form that go-zero's configuration files use."""
        address = f"{self.user}:{self.password}@tcp({self.host}:{self.port})"
        return f"{address}/{self.name}?charset=utf8mb4&parseTime=true"

    @property
    def url(self) -> str:
        """The form that SQLAlchemy uses, with the aiomysql driver."""
        address = f"{self.user}:{self.password}@{self.host}:{self.port}"
        return f"mysql+aiomysql://{address}/{self.name}?charset=utf8mb4"

    def connect(self) -> "pymysql.Connection[pymysql.cursors.Cursor]":
        """Return a blocking autocommit connection, for looking at rows from outside."""
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            database=self.name or None,
            charset="utf8mb4",
            autocommit=True,
            client_flag=CLIENT.MULTI_STATEMENTS,
        )

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Run one or more statements, return the rows of the last one."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            # None, because with parameters a lone % in the text would have to be doubled
            cursor.execute(sql, tuple(parameters) or None)
            rows = list(cursor.fetchall())
            while cursor.nextset():
                rows = list(cursor.fetchall())
            return rows

    @property
    def commit_words(self) -> bytes:
        """What stands in the packet that commits; for `Proxy.cut_at`."""
        return b"\x03COMMIT"

    @property
    def batch_commit_words(self) -> bytes:
        """The same of a batch of the hot path."""
        return b";COMMIT"

    def end_connections(self) -> None:
        """End every connection to the database but our own."""
        for (number,) in self.execute(
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        ):
            with contextlib.suppress(pymysql.err.OperationalError):  # it has gone meanwhile
                self.execute(f"KILL {number}")


@dataclass(frozen=True, slots=True)
class PostgresDatabase(Database):
    """One database on a throw-away PostgreSQL; user root, no password."""

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":  # type: ignore[override]
        """Return a blocking autocommit connection, for looking at rows from outside."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password or None,
            dbname=self.name,
            autocommit=True,
        )

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Run one or more statements, return the rows of the last one."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql, tuple(parameters) or None)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    @property
    def commit_words(self) -> bytes:
        """What stands in the packet that commits; for `Proxy.cut_at`."""
        return b"COMMIT;"

    @property
    def batch_commit_words(self) -> bytes:
        """The same of a batch of the hot path: one statement, with the statuses of its rows."""
        return b"submitted"

    def end_connections(self) -> None:
        """End every connection to the database but our own."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


class MariaDBServer(ThrowAwayServer):
    """MariaDB on 127.0.0.1, root without a password. Every commit reaches the disk, as in production."""

    requirement = programs.MARIADB
    _numbers = itertools.count(1)

    def __init__(self, *arguments: str) -> None:
        """arguments: more of mariadbd's own, for instance `--max-connections=5`."""
        super().__init__()
        self._arguments = arguments

    def database(self, name: str = "") -> Database:
        """Return how to reach the database `name`, which need not exist."""
        return Database(self.host, self.port, name)

    def create_database(self, name: str | None = None, *, schema: str | Path | None = None) -> Database:
        """Create a database and return it.

        name: None makes a fresh one; a given one is dropped first if it exists.
        schema: SQL to run in it, as text or as a file.
        """
        name = name or f"test_{os.getpid()}_{next(self._numbers)}"
        self.database().execute(
            f"DROP DATABASE IF EXISTS `{name}`; CREATE DATABASE `{name}` CHARACTER SET utf8mb4"
        )
        database = self.database(name)
        if schema is not None:
            database.execute(schema.read_text(encoding="utf-8") if isinstance(schema, Path) else schema)
        return database

    def drop_database(self, name: str) -> None:
        """Drop it if it exists."""
        self.database().execute(f"DROP DATABASE IF EXISTS `{name}`")

    def _prepare(self) -> Process:
        user = ["--user=root"] if os.geteuid() == 0 else []  # root has to say that it means it
        data, temporary = self.folder / "data", self.folder / "tmp"
        temporary.mkdir(exist_ok=True)  # in a shared one, a server that starts deletes the others' tables
        install = [
            *(program_path("mariadb-install-db"), "--no-defaults", f"--datadir={data}", *user),
            f"--tmpdir={temporary}",
            *("--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"),
        ]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"mariadb-install-db failed:\n{done.stdout}{done.stderr}")
        command = [
            *(program_path("mariadbd"), "--no-defaults", f"--datadir={data}", f"--tmpdir={temporary}", *user),
            *(f"--socket={self.folder / 'socket'}", f"--pid-file={self.folder / 'pid'}"),
            *(f"--bind-address={self.host}", f"--port={self.port}", "--skip-name-resolve"),
            *("--character-set-server=utf8mb4", "--max-connections=600"),
            *("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=48M", "--performance-schema=OFF"),
            *self._arguments,
        ]
        return Process(command, name="mariadbd", ready=self._answers, start_seconds=60, stop_seconds=60)

    def _answers(self) -> bool:
        try:
            self.database().execute("SELECT 1")
        except pymysql.err.OperationalError:
            return False
        return True


# One role of this name may be made by a test that needs a password to be asked for.
_WHO_MAY_COME_IN = """
local all all                   trust
host  all guarded 127.0.0.1/32  scram-sha-256
host  all all     127.0.0.1/32  trust
"""


class PostgresServer(ThrowAwayServer):
    """PostgreSQL on 127.0.0.1, user root without a password. Every commit reaches the disk.

    The role `guarded`, once made, needs its password.
    """

    requirement = programs.POSTGRES
    _numbers = itertools.count(1)

    def __init__(self, *arguments: str) -> None:
        """arguments: more of postgres' own, for instance `-c`, `max_connections=5`."""
        super().__init__()
        self._arguments = arguments
        self._user = _unprivileged_user()

    def database(self, name: str = "postgres") -> PostgresDatabase:
        """Return how to reach the database `name`, which need not exist."""
        return PostgresDatabase(self.host, self.port, name)

    def create_database(
        self, name: str | None = None, *, schema: str | Path | None = None
    ) -> PostgresDatabase:
        """Create a database and return it; see MariaDBServer."""
        name = name or f"test_{os.getpid()}_{next(self._numbers)}"
        self.drop_database(name)
        self.database().execute(f'CREATE DATABASE "{name}"')
        database = self.database(name)
        if schema is not None:
            database.execute(schema.read_text(encoding="utf-8") if isinstance(schema, Path) else schema)
        return database

    def drop_database(self, name: str) -> None:
        """Drop it if it exists, whoever uses it."""
        self.database().execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def kill(self) -> None:
        """SIGKILL, for each of its processes: left alone, they would hold the memory that the next needs."""
        children = self._children()
        super().kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        for child in children:
            while is_alive(child):
                time.sleep(0.005)  # there is no event for the end of a process that is not our child

    def freeze(self) -> None:
        """SIGSTOP, for each of its processes; the first one before, so that there will be no more."""
        super().freeze()
        for child in self._children():
            os.kill(child, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT, for each of its processes."""
        for child in self._children():
            os.kill(child, signal.SIGCONT)
        super().go_on()

    def close(self) -> None:
        """End all of it at once and remove its data."""
        self.kill()
        super().close()

    def _children(self) -> list[int]:
        """The processes that serve one connection each, and those behind them."""
        return children_of(self.process().pid) if self.is_running else []

    def _prepare(self) -> Process:
        data, sockets = self.folder / "data", self.folder / "sockets"
        sockets.mkdir(exist_ok=True)
        if self._user is not None:
            for folder in (self.folder, sockets):
                shutil.chown(folder, self._user)
        install = [
            *(
                program_path("initdb"),
                f"--pgdata={data}",
                "--username=root",
                "--auth=trust",
                "--encoding=UTF8",
            ),
            *("--locale=C.UTF-8", "--no-instructions", "--no-sync"),
        ]
        done = subprocess.run(
            install, capture_output=True, text=True, check=False, cwd="/", **as_user(self._user)
        )
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")
        (data / "pg_hba.conf").write_text(_WHO_MAY_COME_IN, encoding="ascii")
        options = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": sockets,
            "max_connections": 200,
            "max_prepared_transactions": 100,  # XA
            "shared_buffers": "32MB",
            "fsync": "on",
        }
        command = [program_path("postgres"), "-D", str(data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        # SIGINT: do not wait for clients to go.
        return Process(
            [*command, *self._arguments],
            name="postgres",
            folder="/",
            ready=self._answers,
            start_seconds=60,
            stop_seconds=60,
            stop_signal=signal.SIGINT,
            user=self._user,
        )

    def _answers(self) -> bool:
        try:
            self.database().execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def _unprivileged_user() -> str | None:
    """Whom postgres, which refuses root, runs as; None where we are not root ourselves."""
    if os.geteuid() != 0:
        return None
    import pwd  # not on Windows

    return "postgres" if any(it.pw_name == "postgres" for it in pwd.getpwall()) else "nobody"


class EtcdServer(ThrowAwayServer):
    """A single etcd on 127.0.0.1, without authentication."""

    requirement = programs.ETCD

    def __init__(self, *arguments: str) -> None:
        """arguments: more of etcd's own."""
        super().__init__()
        self._peer_port = free_port()
        self._arguments = arguments

    @property
    def endpoint(self) -> str:
        """`host:port` for clients."""
        return f"{self.host}:{self.port}"

    def _prepare(self) -> Process:
        client = f"http://{self.endpoint}"
        peer = f"http://{self.host}:{self._peer_port}"
        command = [
            *(
                program_path("etcd"),
                "--name=throw-away",
                f"--data-dir={self.folder / 'data'}",
                "--logger=zap",
            ),
            *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
            *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
            *(f"--initial-cluster=throw-away={peer}", *self._arguments),
        ]
        # etcd reads every flag from ETCD_… too, and 3.4 refuses ARM unless told.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD")}
        if platform.machine() in {"aarch64", "arm64"}:
            environment["ETCD_UNSUPPORTED_ARCH"] = "arm64"
        return Process(
            command, name="etcd", environment=environment, ready=lambda: answers(f"{client}/health")
        )


class RedisServer(ThrowAwayServer):
    """A single Redis on 127.0.0.1, without a password; it keeps nothing over a restart."""

    requirement = programs.REDIS

    @property
    def url(self) -> str:
        """`redis://host:port`."""
        return f"redis://{self.host}:{self.port}"

    def _prepare(self) -> Process:
        command = [
            *(program_path("redis-server"), "--port", str(self.port), "--bind", self.host),
            *("--dir", str(self.folder), "--save", "", "--appendonly", "no"),
        ]
        return Process(command, name="redis", ready=lambda: is_listening(self.port))


def program_path(program: str) -> str:
    """Return where a program lies that `require` has found."""
    path = programs.find(program)
    assert path is not None, f"{program} has gone since require()"
    return path
