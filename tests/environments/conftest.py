"""Environments as users have them: what is packed, installed by uv with one of its resolutions."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.under_test import CoordinatorProcess

ROOT = Path(__file__).resolve().parents[2]
PACKED = ("pyproject.toml", "README.md", "LICENSE", "coordinator", "sql")  # what the image is built from, too
NO_INDEX = ("Failed to fetch", "error sending request", "dns error")


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment. packages: name and version of each."""

    python: Path
    packages: dict[str, str]

    @property
    def libraries(self) -> Path:
        (found,) = self.python.parents[1].glob("lib/python*/site-packages")
        return found


def uv(*arguments: str | Path) -> str:
    """Run uv; a package index that cannot be reached is no fault of what is tested, and is named."""
    command = [Path(sys.executable).with_name("uv"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
    if done.returncode and any(word in done.stderr for word in NO_INDEX):
        pytest.skip(f"no package index can be reached: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def _environment() -> dict[str, str]:
    """pip's own index, where this machine has one, is uv's as well."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True,
        text=True,
        check=False,
    )
    index = os.environ.get("PIP_INDEX_URL") or asked.stdout.strip()
    return {**os.environ, **({"UV_DEFAULT_INDEX": index} if index else {})}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution, packed from the files that the image is built from."""
    folder = tmp_path_factory.mktemp("packed")
    for name in PACKED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    uv("build", "--wheel", "--python", sys.executable, "--out-dir", folder / "dist", folder)
    (found,) = (folder / "dist").glob("*.whl")
    return found


class Installer:
    """Makes environments in a folder."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self._folder = folder
        self._wheel = wheel

    def install(self, name: str, *requirements: str, resolution: str = "highest") -> Environment:
        """Make one with the wheel and what it needs, beside `requirements`.

        resolution: `lowest-direct` takes the lowest versions that pyproject.toml allows.
        """
        home = self._folder / name
        python = home / "bin" / "python"
        uv("venv", "--quiet", "--python", sys.executable, home)
        needed = ("-r", ROOT / "pyproject.toml", *requirements)
        uv("pip", "install", "--quiet", "--python", python, "--resolution", resolution, *needed)
        uv("pip", "install", "--quiet", "--python", python, "--no-deps", self._wheel)
        lines = uv("pip", "freeze", "--python", python).splitlines()
        return Environment(python, dict(line.replace(" @ ", "==").split("==", 1) for line in lines))


@pytest.fixture(scope="session")
def installer(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Installer:
    return Installer(tmp_path_factory.mktemp("environments"), wheel)


@pytest.fixture(scope="session")
def highest(installer: Installer) -> Environment:
    """What `pip install dtm-coordinator` brings today, and nothing else."""
    return installer.install("highest")


@pytest.fixture(scope="session")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorProcess]:
    process = CoordinatorProcess(tmp_path_factory.mktemp("coordinator")).start()
    yield process
    process.close()
