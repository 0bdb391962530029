"""The settings of a coordinator inside of a program."""

from pathlib import Path
from typing import Any

import pytest

from coordinator.client import InvalidUse
from coordinator.embedded import Coordinator
from coordinator.embedded.settings import settings_of


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///orders.db", "orders.db"),
        ("sqlite:////var/lib/orders.db", "/var/lib/orders.db"),
        ("sqlite:///:memory:", ":memory:"),
    ],
)
def test_a_file_of_sqlite(url: str, path: str) -> None:
    store = settings_of(url, "", {}).store
    assert (store.driver, store.path) == ("sqlite", Path(path))


@pytest.mark.parametrize(
    ("url", "driver", "port"),
    [
        ("mysql://shop:p%40ss@db/orders", "mysql", 3306),
        ("mysql+aiomysql://shop:p%40ss@db:3307/orders", "mysql", 3307),
        ("mariadb://shop:p@ss@db/orders", "mysql", 3306),
        ("postgresql+asyncpg://shop:p%40ss@db/orders", "postgres", 5432),
    ],
)
def test_a_database_of_the_programs_own(url: str, driver: str, port: int) -> None:
    store = settings_of(url, "", {}).store
    assert (store.driver, store.host, store.port, store.db) == (driver, "db", port, "orders")
    assert (store.user, store.password.get_secret_value()) == ("shop", "p@ss")
    assert store.max_open_conns == 16


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("orders.db", "has no scheme"),
        ("sqlite://", "names no file"),
        ("sqlite://orders.db", "names no file"),
        ("mysql://shop@db", "names no database"),
        ("redis://db/0", "is no database's"),
    ],
)
def test_what_is_no_store_is_refused_with_what_to_write(url: str, problem: str) -> None:
    with pytest.raises(InvalidUse, match=rf"{problem}.*; write sqlite:///file.db"):
        settings_of(url, "", {})


def test_a_password_is_in_no_error() -> None:
    with pytest.raises(InvalidUse) as raised:
        settings_of("mysql://shop:secret@db", "", {})
    assert "secret" not in str(raised.value)


def test_nothing_listens_unless_it_is_asked_for() -> None:
    assert settings_of("sqlite:///a.db", "", {}).http_port == 0
    made = settings_of("sqlite:///a.db", "127.0.0.1:36789", {})
    assert (made.host, made.http_port, made.grpc_port) == ("127.0.0.1", 36789, 0)
    assert settings_of("sqlite:///a.db", "[::1]:0", {}).host == "::1"
    for http in ("36789", "localhost", "localhost:x"):
        with pytest.raises(InvalidUse, match="write host:port"):
            settings_of("sqlite:///a.db", http, {})


def test_keys_are_those_of_the_documentation() -> None:
    given = {"RetryInterval": 20, "Store.Retention": "1d", "InstanceName": "shop-1", "Access.Mode": "off"}
    made = settings_of("mysql://u@db/orders", "", given)
    assert (made.retry_interval, made.store.retention, made.instance_name) == (20, "1d", "shop-1")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"RetryIntervall": 20}, r"'RetryIntervall'\]: there is no such key: did you mean RetryInterval\?"),
        ({"Xyz": 1}, "there is no such key; docs/configuration.md has all of them"),
        ({"RetryInterval": "soon"}, r"settings\['RetryInterval'\]: "),
        ({"RetryInterval": 1}, r"settings\['RetryInterval'\]: "),
        ({"HttpPort": 1}, "a coordinator inside of a program has no such setting"),
        ({"Log.Outputs": "stderr"}, "a coordinator inside of a program has no such setting"),
        ({"Store.Host": "db"}, "a coordinator inside of a program has no such setting"),
    ],
)
def test_what_cannot_be_set_is_refused_by_its_key(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidUse, match=problem):
        settings_of("sqlite:///a.db", "", given)


def test_nothing_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_DRIVER", "mysql")
    monkeypatch.setenv("REQUEST_TIMEOUT", "77")
    made = settings_of("sqlite:///a.db", "", {})
    assert (made.store.driver, made.request_timeout) == ("sqlite", 3)


async def test_outside_of_its_block_there_is_nothing_to_use() -> None:
    coordinator = Coordinator.embedded("sqlite:///:memory:")
    with pytest.raises(InvalidUse, match="is not open: write `async with coordinator:` around it"):
        await coordinator.client.query("g1")
    with pytest.raises(InvalidUse, match="is opened with it: `async with coordinator:`"):
        async with coordinator.client:
            pass
    assert coordinator.http_url == ""
    assert coordinator.problems() == {"stopping": "the coordinator does not run"}


async def _workflows(call: object) -> None: ...


def test_the_name_by_which_workflows_are_called_back_is_taken() -> None:
    with pytest.raises(InvalidUse, match="'workflows' is how workflows are called back"):
        Coordinator.embedded("sqlite:///:memory:", {"workflows": _workflows})
