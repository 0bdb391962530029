"""The client is light: libraries are loaded where first used, extras are named, nothing is written."""

import asyncio
import importlib
import logging
import platform
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from coordinator import cli
from coordinator.client import Dtm, InvalidUse, MissingExtra, Workflows, create_barrier_table

HEAVY = {"aiohttp", "grpclib", "betterproto2", "google", "pydantic", "opentelemetry", "loguru", "sqlalchemy"}
HEAVY |= {"aiomysql", "pymysql", "aiosqlite", "asyncpg", "etcd3", "redis", "grpc", "yarl", "requests"}


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


@pytest.mark.parametrize("module", ["coordinator.client", "coordinator.client.sync"])
def test_importing_it_loads_no_library_that_only_some_need(module: str) -> None:
    loaded = run_python(f"import sys, {module}; print(*(name.split('.')[0] for name in sys.modules))").stdout
    assert set(loaded.split()) & HEAVY == set()


def test_a_coordinator_over_http_needs_no_grpc_and_one_over_grpc_no_aiohttp() -> None:
    code = (
        "import asyncio, sys\n"
        "from coordinator.client import Dtm\n"
        "async def main():\n"
        "    async with Dtm(sys.argv[1]):\n"
        "        print(*(name.split('.')[0] for name in sys.modules))\n"
        "asyncio.run(main())"
    )
    for url, without in (("http://localhost", "grpclib"), ("grpc://localhost", "aiohttp")):
        command = [sys.executable, "-c", code, url]
        loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert without not in loaded


def test_a_library_may_be_first_used_in_any_thread() -> None:
    """aiohttp makes the keys of its requests only while a module is loaded."""
    code = (
        "from threading import Thread\n"
        "from aiohttp.test_utils import make_mocked_request\n"
        "from coordinator.client import branch_of\n"
        "def look():\n"
        "    request = make_mocked_request('POST', '/?gid=g&trans_type=saga&branch_id=01&op=action')\n"
        "    print(branch_of(request) is branch_of(request), branch_of(request).gid)\n"
        "thread = Thread(target=look)\n"
        "thread.start()\n"
        "thread.join()"
    )
    assert run_python(code).stdout.split() == ["True", "g"]


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="not asked for: only glibc maps large blocks anew"
)
def test_a_read_of_asyncio_finds_its_block_in_the_heap() -> None:
    """It was mapped and given back to the system for each answer, as long as no larger one had been freed."""
    code = (
        "import asyncio, resource, socket\n"
        "from coordinator.client import Dtm\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "async def main():\n"
        "    async with Dtm('http://localhost'):\n"
        "        one, other = socket.socketpair()\n"
        "        before = faults()\n"
        "        for _ in range(200):\n"
        "            one.send(b'x')\n"
        "            other.recv(256 * 1024)\n"
        "        print(faults() - before)\n"
        "asyncio.run(main())"
    )
    assert int(run_python(code).stdout) < 100


def test_what_is_loaded_late_is_there_all_the_same() -> None:
    client = importlib.import_module("coordinator.client")
    assert all(hasattr(client, name) for name in client.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Sagas'"):
        client.Sagas  # noqa: B018


def reload(name: str) -> Callable[[], Any]:
    def load() -> Any:
        return importlib.reload(importlib.import_module(name))

    return load


def a_workflow_for_grpcio() -> Any:
    return Workflows(Dtm("grpc://localhost"), [], callback="me:8080/workflow.Workflow/Execute").grpc_handler()


@pytest.mark.parametrize(
    ("library", "loaded_before", "use", "extra"),
    [
        ("aiomysql", "", lambda: asyncio.run(create_barrier_table("mysql://root@localhost:1/")), "mysql"),
        (
            "asyncpg",
            "",
            lambda: asyncio.run(create_barrier_table("postgresql://localhost:1/a")),
            "postgres",
        ),
        ("etcd3", "", lambda: Dtm("etcd://localhost:2379/dtmservice"), "etcd"),
        ("grpc", "coordinator.client.frameworks.for_grpcio", reload("coordinator.client.grpcio"), "grpcio"),
        ("grpc", "coordinator.client.frameworks.for_grpcio", a_workflow_for_grpcio, "grpcio"),
        ("loguru", "coordinator.telemetry.log", reload("coordinator.client.service"), "service"),
        ("pytest_asyncio", "", reload("coordinator.testing.plugin"), "testing"),
    ],
)
def test_what_an_extra_brings_is_asked_for_by_its_name(
    library: str,
    loaded_before: str,
    use: Callable[[], Any],
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if loaded_before:
        reload("coordinator.client.grpcio")()
        importlib.import_module(loaded_before)
        monkeypatch.delitem(sys.modules, loaded_before)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra) as missing:
        use()
    assert f"this needs {library}" in str(missing.value)
    assert f"pip install 'dtm-coordinator[{extra}]'" in str(missing.value)
    assert isinstance(missing.value, (InvalidUse, ImportError))


def test_the_command_of_a_bare_install_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "coordinator.cli.main", raising=False)
    monkeypatch.setitem(sys.modules, "click", None)
    with pytest.raises(SystemExit) as ended:
        cli.dtm()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "pip install 'dtm-coordinator[server]'" in printed.err


def test_nothing_is_written_unless_the_program_asks_for_it() -> None:
    code = "import logging, coordinator.client\n{}logging.getLogger('coordinator.discovery').warning('away')"
    assert run_python(code.format("")).stderr == ""
    assert "away" in run_python(code.format("logging.basicConfig()\n")).stderr


def test_the_client_writes_by_the_standard_library_alone() -> None:
    """loguru is the server's; and a program's own set-up of `logging` is left as it is."""
    code = (
        "import logging, sys, coordinator.client.sync, coordinator.discovery.open\n"
        "print('loguru' in sys.modules, logging.getLogger().handlers, logging.getLogger().level)"
    )
    assert run_python(code).stdout.split() == ["False", "[]", str(logging.WARNING)]
