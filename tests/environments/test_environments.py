"""The client as others install it: with the oldest libraries, with the newest, and beside what they have."""

import json
import os
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.environments.conftest import ROOT, Environment, Installer
from tests.support.under_test import CoordinatorProcess

PACKAGES_MAX = 25
BYTES_MAX = 40 * 1024 * 1024
DONE = {"http": ["succeed", "rolled back: True"], "grpc": ["succeed", "rolled back: True"]}
WITH_SQLALCHEMY = ("--extra=sqlalchemy", "aiosqlite==0.19.0")  # of the time of SQLAlchemy 1.4
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

pytestmark = pytest.mark.timeout(180)  # a cold cache of packages fills from the index


def run(
    environment: Environment, *arguments: str | Path, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run its Python where nothing of this checkout is to be found."""
    return subprocess.run(
        [environment.python, *arguments],
        cwd=folder or environment.python.parent,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run_sagas(environment: Environment, coordinator: CoordinatorProcess) -> dict[str, Any]:
    program = Path(__file__).with_name("program.py")
    done = run(environment, program, coordinator.http_url, f"grpc://{coordinator.grpc_address}")
    assert (done.returncode, done.stderr) == (0, "")  # a library is silent
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_saga_runs_with_the_newest_libraries(highest: Environment, coordinator: CoordinatorProcess) -> None:
    assert run_sagas(highest, coordinator) == {**DONE, "balance": 1000}


def test_a_saga_runs_with_the_oldest_that_are_allowed(
    installer: Installer, coordinator: CoordinatorProcess
) -> None:
    oldest = installer.install("oldest", *WITH_SQLALCHEMY, resolution="lowest-direct")
    for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["sqlalchemy"]]:
        wanted = Requirement(text)
        (least,) = (one.version for one in wanted.specifier if one.operator == ">=")
        installed = {canonicalize_name(name): number for name, number in oldest.packages.items()}
        assert f"{installed[canonicalize_name(wanted.name)]}.0".startswith(f"{least}."), wanted
    found = run_sagas(oldest, coordinator)
    assert found.pop("sqlalchemy") == oldest.packages["sqlalchemy"]
    assert found == {**DONE, "balance": 1002}


def test_a_saga_runs_beside_what_services_have_held_back(
    installer: Installer, coordinator: CoordinatorProcess
) -> None:
    held = ("sqlalchemy>=1.4,<1.5", "protobuf>=5,<6", "opentelemetry-sdk>=1.30,<1.31", "pymysql>=1.2")
    beside = installer.install("beside", "--extra=tracing", "--extra=mysql", *WITH_SQLALCHEMY, *held)
    found = run_sagas(beside, coordinator)
    assert found.pop("sqlalchemy").startswith("1.4.")
    assert found.pop("spans") == ["POST", "dtmgimp.Dtm/Submit"]
    assert found == {**DONE, "balance": 1002}


def test_it_brings_few_packages_and_megabytes(highest: Environment) -> None:
    assert len(highest.packages) <= PACKAGES_MAX
    size = sum(file.stat().st_size for file in highest.libraries.rglob("*") if file.is_file())
    assert size <= BYTES_MAX


def test_the_command_says_what_to_install(highest: Environment) -> None:
    for call in (["-m", "coordinator"], [highest.python.with_name("dtm"), "check"]):
        done = run(highest, *call)
        assert (done.returncode, done.stdout) == (2, "")
        assert "To run a coordinator:\n     pip install 'dtm-coordinator[server]'\n" in done.stderr


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("coordinator.client.grpcio", "grpcio"),
        ("coordinator.client.service", "service"),
        ("coordinator.testing", "testing"),
    ],
)
def test_a_module_that_needs_an_extra_names_it(highest: Environment, module: str, extra: str) -> None:
    done = run(highest, "-c", f"import {module}")
    assert f"pip install 'dtm-coordinator[{extra}]'" in done.stderr


def test_the_wheel_holds_the_package_and_its_files_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"coordinator", "dtm_coordinator"}
    assert {name for name in names if name.endswith(".sql")} == {
        f"coordinator/sql/barrier.{kind}.sql" for kind in ("mysql", "postgres", "sqlite")
    }
    for file in ("coordinator/py.typed", "coordinator/proto/dtmgimp.proto", "coordinator/api/openapi.yaml"):
        assert file in names


def test_the_shop_is_typed_strictly_with_the_client_alone(installer: Installer, tmp_path: Path) -> None:
    """By mypy and by pyright, whose `strict` basedpyright runs: without an ignore, and without any extra."""
    typed = installer.install("typed", "aiosqlite", "pydantic", "mypy", "basedpyright")
    home = tmp_path / "examples" / "shop"
    shutil.copytree(ROOT / "examples" / "shop", home, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    shutil.copy(Path(__file__).with_name("typed_use.py"), home)
    assert not [file for file in home.rglob("*.py") if "ignore" in file.read_text(encoding="utf-8")]
    strict = {"typeCheckingMode": "strict", "include": ["examples"], "pythonVersion": "3.11"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(strict), encoding="utf-8")
    by_mypy = ["-m", "mypy", "--strict", "--explicit-package-bases", "examples"]
    by_pyright = ["-m", "basedpyright", "--pythonpath", typed.python]
    for call in (by_mypy, by_pyright):
        done = run(typed, *call, folder=tmp_path)
        assert done.returncode == 0, done.stdout
