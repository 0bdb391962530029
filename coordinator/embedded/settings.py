"""The settings of a coordinator inside of a program: from a url and some keys, never its environment."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from coordinator.client import InvalidUse
from coordinator.config.rules import broken_rules
from coordinator.config.settings import Settings
from coordinator.config.values import every_field, key_of
from coordinator.discovery.logins import parse_server_url
from coordinator.discovery.target import endpoint, host_and_port

_MEMORY: Final = ":memory:"
_DRIVERS: Final = {"mysql": ("mysql", 3306), "mariadb": ("mysql", 3306), "postgresql": ("postgres", 5432)}
_FORMS: Final = (
    "write sqlite:///file.db, sqlite:///:memory: for tests, mysql://user:password@host:3306/database or"
    " postgresql://user:password@host:5432/database"
)
_CONNECTIONS_MAX: Final = 16  # of a database that the program has for itself as well
# What a program says elsewhere, or has of its own.
_NOT_HERE: Final = frozenset(
    f"Store.{name}" for name in ("Driver", "Path", "Host", "Port", "User", "Password", "PasswordFile", "Db")
) | {"Host", "HttpPort", "GrpcPort", "JsonRpcPort", "Workers", "LogLevel", "AlertWebHookFile"}
_SECTIONS_NOT_HERE: Final = ("Log.", "Telemetry.", "MicroService.", "HttpMicroService.", "Operators.", "Tls.")


def settings_of(url: str, http: str, given: Mapping[str, object]) -> Settings:
    """Return the settings.

    url: of the store. http: `host:port` at which HTTP is answered; empty: nowhere. given: by the keys of
    docs/configuration.md, such as `RetryInterval` and `Store.Retention`. Raises InvalidUse, naming the key.
    """
    values: dict[str, Any] = {"http_port": 0, "grpc_port": 0}
    if http:
        values["host"], values["http_port"] = _listening(http)
    store = _store(url)
    values["store"] = store
    paths = {key_of(path): path for path, _ in every_field()}
    for key, value in given.items():
        if key in _NOT_HERE or key.startswith(_SECTIONS_NOT_HERE):
            raise InvalidUse(f"settings[{key!r}]: a coordinator inside of a program has no such setting")
        if key not in paths:
            close = difflib.get_close_matches(key, paths, n=1)
            meant = f": did you mean {close[0]}?" if close else "; docs/configuration.md has all of them"
            raise InvalidUse(f"settings[{key!r}]: there is no such key{meant}")
        path = paths[key]
        tree = values if len(path) == 1 else values.setdefault(path[0], {})
        tree[path[-1]] = value
    is_in_memory = store.get("path") == _MEMORY
    if is_in_memory:
        del store["path"]
    made = _made(values)
    if is_in_memory:  # not for a server, which would lose all that it acknowledged
        made = made.model_copy(update={"store": made.store.model_copy(update={"path": Path(_MEMORY)})})
    return made


def _made(values: Mapping[str, Any]) -> Settings:
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = key_of(tuple(str(name) for name in first["loc"]))
        raise InvalidUse(f"settings[{key!r}]: {first['msg']}") from error
    for finding in broken_rules(settings, {}):
        raise InvalidUse(f"settings[{key_of(finding.path)!r}]: {finding.problem}. {finding.hint}".rstrip())
    return settings


def _listening(http: str) -> tuple[str, int]:
    host, colon, port = http.rpartition(":")
    if colon and host and port == "0":
        return host.strip("[]"), 0
    try:
        return host_and_port(endpoint(http))
    except ValueError as error:
        raise InvalidUse(f"http={http!r}: {error}; write host:port, such as 127.0.0.1:36789") from error


def _store(url: str) -> dict[str, Any]:
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite":
        path = rest.removeprefix("/")
        if not rest.startswith("/") or not path:
            raise InvalidUse(f"url {url!r}: names no file; {_FORMS}")
        return {"driver": "sqlite", "path": path}
    try:
        server = parse_server_url(url)
    except ValueError as error:
        raise InvalidUse(f"url: {error}; {_FORMS}") from error
    driver, port = _DRIVERS.get(server.scheme.partition("+")[0], ("", 0))
    if not driver or not server.host or not server.path:
        what = "names no database" if driver and server.host else "is no database's"
        raise InvalidUse(f"url {server}: {what}; {_FORMS}")
    return {
        "driver": driver,
        "host": server.host,
        "port": server.port or port,
        "user": server.user,
        "password": server.password,
        "db": server.path,
        "max_open_conns": _CONNECTIONS_MAX,
    }
