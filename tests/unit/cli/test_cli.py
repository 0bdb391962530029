"""The `dtm` command: the reference's flags (PROTOCOL §13), `dtm check`, and what a person reads."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from coordinator import __version__
from coordinator.cli import main as cli
from coordinator.config.read import Settings
from coordinator.errors import StartError


@dataclass
class Server:
    """Stands for `coordinator.server.process`: notes what it is asked to run."""

    exit_code: int = 0
    error: StartError | None = None
    runs: list[tuple[Settings, dict[str, Any]]] = field(default_factory=list)

    def run(self, settings: Settings, **options: Any) -> int:
        self.runs.append((settings, options))
        if self.error is not None:
            raise self.error
        return self.exit_code


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    module = ModuleType("coordinator.server.process")
    module.run = server.run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "coordinator.server.process", module)
    return server


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "conf.yml"
    path.write_text("Store:\n  Driver: boltdb\nHttpPort: 5\nZebra: 1\n", encoding="utf-8")
    return path


def dtm(*arguments: str | Path, **environment: str) -> Result:
    # Only these variables: the machine's own could hold a key's name.
    hidden = dict.fromkeys(os.environ)
    return CliRunner().invoke(cli.main, [str(word) for word in arguments], env={**hidden, **environment})


# ---- running -------------------------------------------------------------------------------------


def test_without_arguments_it_runs_on_the_defaults(server: Server):
    assert dtm().exit_code == 0
    assert server.runs == [
        (Settings(), {"reset": False, "notices": (), "warnings": (), "sources": {}, "place": None})
    ]


@pytest.mark.parametrize("words", [["-c", "{}"], ["-c{}"], ["-c={}"]], ids=str)
def test_c_names_the_file_as_go_and_as_posix_write_it(server: Server, conf: Path, words: Sequence[str]):
    """§13: `-c FILE`; the reference's start scripts have `-c=FILE` too."""
    assert dtm(*(word.format(conf) for word in words)).exit_code == 0
    ((settings, options),) = server.runs
    assert settings.http_port == 5
    assert options["notices"][0].startswith("Store.Driver boltdb: ")
    assert options["warnings"] == (f"{conf}:4: Zebra: unknown key, ignored.",)


def test_a_conf_yml_in_the_directory_is_not_read_unasked(server: Server, conf: Path, monkeypatch):
    monkeypatch.chdir(conf.parent)
    assert dtm().exit_code == 0
    assert server.runs[0][0] == Settings()


def test_the_environment_configures_too(server: Server):
    assert dtm(HTTP_PORT="7").exit_code == 0
    assert server.runs[0][0].http_port == 7


def test_d_logs_at_debug_whatever_the_file_says(server: Server, conf: Path):
    conf.write_text("LogLevel: error\nHttpPort: 5\n", encoding="utf-8")
    assert dtm("-d", "-c", conf).exit_code == 0
    assert server.runs[0][0] == Settings(host="0.0.0.0", http_port=5, log_level="debug")


def test_r_says_that_it_drops_the_data_and_then_runs(server: Server):
    result = dtm("-r")
    assert result.exit_code == 0
    assert "drops the coordinator's tables in sqlite file dtm.db" in result.stderr
    assert "every transaction in them is lost" in result.stderr
    assert server.runs == [
        (Settings(), {"reset": True, "notices": (), "warnings": (), "sources": {}, "place": None})
    ]


def test_flags_go_together(server: Server, conf: Path):
    assert dtm("-d", "-r", "-c", conf).exit_code == 0
    assert server.runs[0][0].log_level == "debug"
    assert server.runs[0][1]["reset"] is True


def test_the_exit_code_is_the_servers(server: Server):
    server.exit_code = 3
    assert dtm().exit_code == 3


def test_what_keeps_it_from_starting_is_one_sentence_and_a_hint(server: Server):
    server.error = StartError("port 36789 is in use", "Set HttpPort, or stop the other program.")
    result = dtm()
    assert result.exit_code == 1
    assert result.stderr == "dtm: port 36789 is in use\n     Set HttpPort, or stop the other program.\n"
    server.error = StartError("the database is away")
    assert dtm().stderr == "dtm: the database is away\n"


def test_a_bad_configuration_does_not_start_and_exits_with_2(server: Server, conf: Path):
    conf.write_text("Store:\n  Driver: redis\n", encoding="utf-8")
    result = dtm("-r", "-c", conf)
    assert result.exit_code == 2
    assert result.stderr == (
        "dtm: 1 problem in the configuration\n"
        f"  {conf}:2: Store.Driver: the driver redis is not built yet; use sqlite, mysql or postgres.\n"
    )
    assert server.runs == []


def test_a_file_that_is_not_there_exits_with_2(server: Server, tmp_path: Path):
    result = dtm("-c", tmp_path / "absent.yml")
    assert result.exit_code == 2
    assert f"{tmp_path / 'absent.yml'}: there is no such file." in result.stderr
    assert server.runs == []


# ---- looking -------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["-v"], ["--version"], ["-d", "-v"], ["-v", "-c", "absent.yml"]], ids=str)
def test_v_prints_the_version_and_does_nothing_else(server: Server, words: Sequence[str]):
    result = dtm(*words)
    assert (result.exit_code, result.stdout) == (0, f"dtm version: {__version__}\n")
    assert server.runs == []


@pytest.mark.parametrize("words", [["-h"], ["--help"]], ids=str)
def test_h_explains_every_flag_and_subcommand(server: Server, words: Sequence[str]):
    result = dtm(*words)
    assert result.exit_code == 0
    for word in ("-c FILE", "-d ", "-r ", "-v", "-h", "check"):
        assert word in result.stdout
    assert server.runs == []


@pytest.mark.parametrize("words", [["-c"], ["-x"], ["nothing"], ["-r", "check"], ["-d", "check"]], ids=str)
def test_a_wrong_command_line_exits_with_2(server: Server, words: Sequence[str]):
    assert dtm(*words).exit_code == 2
    assert server.runs == []


def test_check_prints_ok_what_is_odd_and_what_is_in_force(server: Server, conf: Path):
    result = dtm("check", "-c", conf, GRPC_PORT="6")
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["ok:", str(conf)]
    assert ["HttpPort", "5", f"{conf}:3"] in lines
    assert ["GrpcPort", "6", "environment", "GRPC_PORT"] in lines
    assert ["LogLevel", "info"] in lines
    assert f"warning: {conf}:4: Zebra: unknown key, ignored.\n" in result.stdout
    assert "note: Store.Driver boltdb: " in result.stdout
    assert server.runs == []


def test_check_names_every_problem_and_exits_with_2(conf: Path):
    conf.write_text("Store:\n  Driver: mysql\n  Host: h\n  Port: 1\nRetryInterval: 9\n", encoding="utf-8")
    result = dtm("check", "-c", conf)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == (
        "dtm: 2 problems in the configuration\n"
        f"  {conf}:2: Store.User: is missing, and mysql needs it. Write the name of a database user.\n"
        f"  {conf}:5: RetryInterval: is 9, but must be at least 10.\n"
    )


def test_check_without_a_file_looks_at_the_environment():
    assert dtm("check").stdout.startswith("ok: no file, environment and defaults only\n")
    assert dtm("check", RETRY_INTERVAL="1").exit_code == 2


def test_check_takes_the_file_before_or_after_its_name(conf: Path):
    assert dtm("-c", conf, "check").stdout == dtm("check", "-c", conf).stdout


def test_check_prints_no_password(conf: Path):
    conf.write_text("Store: {Password: s3cr3t}\n", encoding="utf-8")
    result = dtm("check", "-c", conf)
    assert "s3cr3t" not in result.output
    assert "(set)" in result.stdout


def test_python_m_coordinator_is_dtm():
    done = subprocess.run(
        [sys.executable, "-m", "coordinator", "-h"], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.startswith("Usage: dtm ")


def test_version_and_check_do_not_load_the_server():
    """Both answer in a blink: nothing of network or database is imported for them."""
    code = (
        "import sys, coordinator.cli.main as cli\n"
        "cli.main(['check'], standalone_mode=False)\n"
        "print(sorted({'aiohttp', 'sqlalchemy', 'grpclib', 'asyncio', 'loguru'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
