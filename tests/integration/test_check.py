"""`dtm check`, the start, `dtm health`: one judgement of a configuration; what is said of what is away."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from coordinator.cli import main as cli
from coordinator.config.read import load_settings
from coordinator.errors import StartError
from coordinator.server import process, server
from coordinator.server.server import Server
from coordinator.telemetry.log_output import configure_logging
from tests.conftest import StartCoordinator
from tests.support.logs import logging_as_before
from tests.support.ports import HOST, free_port
from tests.support.servers import Database, EtcdServer, PostgresDatabase
from tests.support.under_test import CoordinatorProcess, store_settings

Tree = dict[str, Any]


def dtm(*words: str | Path, **environment: str) -> Result:
    hidden = dict.fromkeys(os.environ)
    return CliRunner().invoke(cli.main, [str(word) for word in words], env={**hidden, **environment})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes.txt").write_text("minutes of the last meeting", encoding="utf-8")
    (tmp_path / "there").mkdir()
    return tmp_path


def choice(**values: Any) -> st.SearchStrategy[Tree]:
    """A section with some of these keys, each with one of its values."""
    return st.fixed_dictionaries({}, optional={key: st.sampled_from(found) for key, found in values.items()})


# Good and bad values of every key that a start may fail on; `%` stands for the folder of the test.
CONFIGURATIONS = st.fixed_dictionaries(
    {},
    optional={
        "Store": st.one_of(
            choice(
                Path=[
                    "%/dtm.db",
                    "%/there/dtm.db",
                    "%/absent/dtm.db",
                    "%/there",
                    "%/notes.txt",
                    "%/notes.txt/x",
                ],
                Driver=["sqlite", "boltdb"],
            ),
            choice(
                Driver=["mysql", "postgres", "redis", "pg"],
                Host=["127.0.0.1", "::1", "127.0.0.1:3306", "tcp://h", "", "u@h"],
                Port=[1, 65536, "x"],
                User=["root", ""],
                Password=["密码", "s3cret"],
                Db=["dtm", ""],
                Schema=["public", ""],
            ),
        ),
        "MicroService": choice(
            Driver=["default", "dtm-driver-gozero", "dtm-driver-ego"],
            Target=[
                "",
                "etcd://127.0.0.1:1/n",
                "etcd://h",
                "etcd:///n",
                "http://h/n",
                "etcd://u:s3cret@h/n",
                "h:1",
            ],
            EndPoint=["", "h:1", "http://x:1", "x", ":1", "h:99999", "[::1]:1", "h:0"],
        ),
        "AlertWebHook": st.sampled_from(
            [
                "",
                "http://127.0.0.1:1/s3cret",
                "ftp://h/s3cret",
                "h",
                "http://",
                "http://h:x/",
                "https://[::1/",
            ]
        ),
        "Log": choice(
            Outputs=[
                "%/dtm.log",
                "%/new/folder/dtm.log",
                "%/there",
                "%/notes.txt/dtm.log",
                "stderr, %/b.log",
            ],
            RotationEnable=[0, 1],
            RotationConfigJSON=["{}", "[]", '{"maxsize": "1G"}', '{"maxage": -1}', '{"maxbackups": 2}'],
        ),
        "Telemetry": choice(
            Batcher=["jaeger", "file", "zipkin", "otlphttp"],
            Endpoint=["", "%/spans", "%/absent/spans", "http://127.0.0.1:1/x", "127.0.0.1:1", "http://"],
            Sampler=[0.5, 2, "half"],
        ),
        "RetryInterval": st.sampled_from([9, 10, 20]),
        "TimeoutToFail": st.sampled_from([10, 35, "x"]),
        "LogLevel": st.sampled_from(["warn", "loud"]),
        "InstanceName": st.sampled_from(["one", "a/b"]),
        "TimeZoneOffset": st.sampled_from(["+8", "Europe/Vienna"]),
        "RequestTimeout": st.sampled_from([3, 600]),
        "Zebra": st.just(1),
    },
)


def written(tree: Tree, folder: Path) -> Path:
    text = yaml.safe_dump({"Host": HOST, "HttpPort": 0, "GrpcPort": 0, **tree}, allow_unicode=True)
    if "Store" not in tree:
        text += "Store: {Path: '%/dtm.db'}\n"
    file = folder / "conf.yml"
    file.write_text(text.replace("%", str(folder)), encoding="utf-8")
    return file


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=CONFIGURATIONS)
@example(tree={"AlertWebHook": "ftp://h/s3cret"})
def test_check_and_start_say_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch, tree: Tree) -> None:
    started: list[Any] = []

    def run(settings: Any, **options: Any) -> int:
        started.append((settings, options["warnings"]))
        return 0

    monkeypatch.setattr(process, "run", run)
    file = written(tree, folder)
    before = sorted(folder.rglob("*"))
    checked = dtm("check", "-c", file)
    assert sorted(folder.rglob("*")) == before  # a look changes nothing
    start = dtm("-c", file)
    assert checked.exit_code == start.exit_code in {0, 2}
    assert checked.stderr == start.stderr
    assert "s3cret" not in checked.output + start.output
    if checked.exit_code == 0:
        [(found, warnings)] = started
        assert [line for line in checked.stdout.splitlines() if line.startswith("warning: ")] == [
            f"warning: {warning}" for warning in warnings
        ]
        assert found == load_settings(file, {}).settings.model_copy(
            update={"instance_name": found.instance_name}
        )
    else:
        assert started == []
        assert "problem" in checked.stderr


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=CONFIGURATIONS.filter(lambda tree: not tree.get("Store", {}).get("Driver", "").startswith("p")))
def test_what_check_calls_ok_really_starts(folder: Path, monkeypatch: pytest.MonkeyPatch, tree: Tree) -> None:
    """In this process, and without other programs: a database that is away is no bad configuration."""
    monkeypatch.setattr(server, "STORE_WAIT_SECONDS", 0.0)
    file = written(tree, folder)
    if dtm("check", "-c", file).exit_code:
        return
    found = load_settings(file, {}).settings

    async def start_and_stop() -> None:
        one = Server(found, reset=False)
        try:
            assert "is ready" in await one.start()
        finally:
            await one.stop()

    with logging_as_before():
        configure_logging(found.log_level, found.log.destinations, rotation=found.log.rotation)
        try:
            asyncio.run(start_and_stop())
        except StartError as error:
            assert found.store.driver != "sqlite", error
            assert "was not there within" in error.message


@pytest.fixture
def locked_folder() -> Iterator[Path]:
    """One that everybody may look into and that another user than us has."""
    found = Path(tempfile.mkdtemp(prefix="dtm-locked-"))
    found.chmod(0o555)
    dtm("check")  # what it imports is there before we are somebody else
    nobody = 65534
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.seteuid(nobody)
        yield found
    finally:
        if is_root:
            os.seteuid(0)
        found.chmod(0o755)
        shutil.rmtree(found)


@pytest.mark.parametrize("key", ["STORE_PATH", "LOG_OUTPUTS"])
def test_a_folder_that_may_not_be_written_is_refused_by_both(locked_folder: Path, key: str) -> None:
    given_ = {"STORE_PATH": str(Path(tempfile.gettempdir()) / "never-made.db")} | {
        key: str(locked_folder / "x")
    }
    checked, start = dtm("check", **given_), dtm(**given_)
    assert checked.exit_code == start.exit_code == 2, checked.output
    assert checked.stderr == start.stderr
    assert f"is to be made in {locked_folder}, which this user may not write to" in checked.stderr


# ---- --connect -----------------------------------------------------------------------------------


@pytest.fixture(params=["mariadb_database", "postgres_database"])
def database(request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue(request.param)
    return found


def connect(folder: Path, tree: Mapping[str, Any]) -> tuple[int, list[str]]:
    result = dtm("check", "--connect", "-c", written(dict(tree), folder))
    assert "Traceback" not in result.output
    return result.exit_code, result.stdout.rpartition("\n\n")[2].splitlines()


def test_connect_says_of_each_part_that_it_answers(
    folder: Path, database: Database, etcd: EtcdServer
) -> None:
    hook_port = etcd.port  # takes connections, and that is all that is asked
    code, said = connect(
        folder,
        {
            "Store": store_settings(database),
            "MicroService": {
                "Driver": "dtm-driver-gozero",
                "Target": f"etcd://{etcd.endpoint}/nobody",
                "EndPoint": "h:1",
            },
            "AlertWebHook": f"http://{HOST}:{hook_port}/services/s3cret",
        },
    )
    assert code == 0, said
    store, registry, hook = said
    assert store.startswith("store: ok: ") and store.endswith("/dtm answers".replace("dtm", database.name))
    assert registry == f"etcd: ok: etcd://{etcd.endpoint}/nobody answers; registered there now: 0"
    assert hook == f"hook: ok: http://{HOST}:{hook_port}/… takes connections; nothing was posted"


def test_connect_makes_nothing(folder: Path, database: Database) -> None:
    settings_ = store_settings(database) | {"Db": "not_made"}
    code, said = connect(folder, {"Store": settings_})
    assert code == 0
    assert "the database not_made is not there yet" in said[0]
    code, said = connect(folder, {"Store": {"Path": "%/new.db"}})
    assert (code, (folder / "new.db").exists()) == (0, False)
    assert "is not there yet; the start makes it" in said[0]


def test_connect_says_what_cannot_be_reached_and_what_to_do(folder: Path, database: Database) -> None:
    driver = "postgres" if isinstance(database, PostgresDatabase) else "mysql"
    port = free_port()
    code, said = connect(
        folder,
        {
            "Store": {"Driver": driver, "Host": HOST, "Port": port, "User": "root"},
            "MicroService": {
                "Driver": "dtm-driver-gozero",
                "Target": f"etcd://{HOST}:{port}/n?user=u&password=s3cret",
                "EndPoint": "h:1",
            },
            "AlertWebHook": f"https://{HOST}:{port}/s3cret",
        },
    )
    assert code == 1
    assert [line.split(":")[0] for line in said[::2]] == ["store", "etcd", "hook"]
    assert all(line.split(": ")[1] == "wrong" for line in said[::2])
    assert all(line.startswith("      ") and line.strip() for line in said[1::2])
    assert "s3cret" not in "".join(said)


def test_connect_says_that_the_login_is_refused(folder: Path, database: Database) -> None:
    code, said = connect(folder, {"Store": store_settings(database) | {"User": "nobody_knows"}})
    assert code == 1
    assert "nobody_knows" in said[0]
    assert "correct Store.User and Store.Password" in said[1]


def test_connect_reads_the_file_that_a_coordinator_runs_on(
    start_coordinator: StartCoordinator, tmp_path: Path
) -> None:
    running = start_coordinator(store=tmp_path / "one.db")
    result = dtm("check", "--connect", "-c", running.configuration_file)
    assert (result.exit_code, "can be read" in result.stdout) == (0, True)


# ---- health --------------------------------------------------------------------------------------


@pytest.fixture
def running(start_coordinator: StartCoordinator) -> Iterator[CoordinatorProcess]:
    yield start_coordinator()


def test_health_of_a_coordinator_that_is_ready(running: CoordinatorProcess) -> None:
    result = dtm("health", "-c", running.configuration_file)
    assert (result.exit_code, result.output) == (0, f"{running.http_url}/api/ready: ready\n")
    assert dtm("-c", running.configuration_file, "health").exit_code == 0


def test_health_asks_the_port_that_the_process_was_told(tmp_path: Path) -> None:
    """What an image's health check does: it knows the process, and not with which file it was started."""
    one = CoordinatorProcess(tmp_path)
    one.close()  # its file alone is wanted
    for words in (
        [f"-c={one.configuration_file}"],
        ["-c", str(one.configuration_file)],
        ["-d", f"-c{one.configuration_file}"],
    ):
        script = Path(sys.executable).with_name("dtm")
        sleeper = "import sys, time; print('there', flush=True); time.sleep(60)"
        stand_in = subprocess.Popen(
            [sys.executable, "-c", sleeper, str(script), *words], stdout=subprocess.PIPE
        )
        try:
            assert stand_in.stdout is not None
            stand_in.stdout.readline()
            result = dtm("health", "--pid", str(stand_in.pid))
        finally:
            stand_in.kill()
            stand_in.wait()
            stand_in.stdout.close()
        assert result.exit_code == 1
        assert f"{one.http_url}/api/ready: no answer" in result.stderr


def test_health_of_nobody_and_of_another(tmp_path: Path, etcd: EtcdServer) -> None:
    assert "no answer" in dtm("health", HTTP_PORT=str(free_port())).stderr
    other = dtm("health", HTTP_PORT=str(etcd.port))
    assert (other.exit_code, "status 404: is it a coordinator?" in other.stderr) == (1, True)
    assert dtm("health", HTTP_PORT="0").exit_code == 1
    assert dtm("health", HTTP_PORT="x").exit_code == 2
