"""Missing programs are installed where apt may do it, and named where not."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import install_servers, programs

ABSENT = programs.Requirement(
    name="example",
    programs=("example-server",),
    apt_package="example-package",
    elsewhere="example 3 or newer",
)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A machine that lacks one program; what would have been run is noted and fails."""
    noted: list[str] = []

    def run(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        noted.append(" ".join(command))
        return subprocess.CompletedProcess(command, 100, stdout="E: cannot reach the archive")

    monkeypatch.setattr(programs, "ALL", (ABSENT,))
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(install_servers.os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", {"apt-get": "/usr/bin/apt-get"}.get)
    monkeypatch.setattr(programs, "find", lambda _: None)
    yield noted


def test_nothing_is_done_where_nothing_is_missing(commands: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(programs, "find", lambda program: f"/usr/sbin/{program}")
    assert install_servers.main() == 0
    assert commands == []


def test_old_package_lists_are_renewed_and_a_failure_is_shown(
    commands: list[str], capsys: pytest.CaptureFixture[str]
):
    assert install_servers.main() == 0
    assert ["update" in command for command in commands] == [False, True, False]
    assert commands[0].endswith("example-package")
    said = capsys.readouterr().err
    assert "cannot reach the archive" in said
    assert "install example-package, elsewhere example 3 or newer" in said


def test_without_apt_a_sentence_says_what_to_install(
    commands: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert install_servers.main() == 0
    assert commands == []
    assert "elsewhere example 3 or newer. Tests that need it cannot run." in capsys.readouterr().err


def test_who_may_not_become_root_installs_nothing(
    commands: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(install_servers.os, "geteuid", lambda: 1000)
    assert install_servers.main() == 0
    assert commands == []
    assert "cannot run" in capsys.readouterr().err
