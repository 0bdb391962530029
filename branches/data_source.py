"""`DataSource` of a service's yaml: a Go DSN for MySQL, or `sqlite:///file`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

SQLITE_PREFIX: Final = "sqlite:///"
MYSQL_PORT: Final = 3306
FORMS: Final = "user:password@tcp(host:port)/database?charset=utf8mb4 or sqlite:///file"


@dataclass(frozen=True, slots=True)
class SqliteSource:
    """One SQLite file, relative to the working directory unless the path is absolute (`sqlite:////var/…`)."""

    path: Path

    def __str__(self) -> str:
        return f"{SQLITE_PREFIX}{self.path}"


@dataclass(frozen=True, slots=True)
class MySqlSource:
    """One database of a MySQL, MariaDB or TiDB server. socket: path of a Unix socket, "" for TCP."""

    host: str
    port: int
    user: str
    password: str
    database: str
    socket: str = ""

    def __str__(self) -> str:
        """Where it is, without the password."""
        return f"mysql://{self.user}@{self.socket or f'{self.host}:{self.port}'}/{self.database}"


def parse_data_source(text: str) -> SqliteSource | MySqlSource:
    """Read a DataSource. Parameters of a Go DSN (behind the `?`) are for Go's driver and not used.

    Raises ValueError with a sentence that shows the two forms.
    """
    if text.startswith(SQLITE_PREFIX):
        file = text.removeprefix(SQLITE_PREFIX)
        if not file:
            raise ValueError(f"DataSource {text!r} names no file: write {FORMS}")
        return SqliteSource(Path(file))
    return _parse_go_dsn(text)


def _parse_go_dsn(text: str) -> MySqlSource:
    # As Go's driver reads it: the last `/` ends the address, the last `@` before it ends the password, which
    # may itself hold both characters.
    address, slash, rest = text.rpartition("/")
    if not slash:
        raise ValueError(f"DataSource {_without_password(text)!r} has no /database: write {FORMS}")
    database = rest.partition("?")[0]
    credentials, _, place = address.rpartition("@")
    user, _, password = credentials.partition(":")
    network, opening, target = place.partition("(")
    if not database or network not in ("tcp", "unix") or not opening or not target.endswith(")"):
        raise ValueError(f"DataSource {_without_password(text)!r} is not understood: write {FORMS}")
    target = target[:-1]
    if network == "unix":
        return MySqlSource("", MYSQL_PORT, user, password, database, socket=target)
    host, port = split_address(target, default_port=MYSQL_PORT)
    return MySqlSource(host, port, user, password, database)


def split_address(text: str, *, default_port: int | None = None) -> tuple[str, int]:
    """Split `host:port`, `[::1]:port` or, with a default port, `host`.

    Raises ValueError when the port is missing or no port number.
    """
    host, colon, port_text = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port_text = text, "" if default_port is None else str(default_port)
    if not port_text.isascii() or not port_text.isdigit() or int(port_text) > 65535:
        raise ValueError(f"{text!r}: write host:port, the port a number up to 65535")
    return host.removeprefix("[").removesuffix("]"), int(port_text)


def _without_password(text: str) -> str:
    credentials, at, rest = text.rpartition("@")
    if not at:  # perhaps a password is there all the same
        credentials, rest = text, ""
    user, colon, _ = credentials.partition(":")
    return f"{user}{':…' if colon else ''}{at}{rest}"
