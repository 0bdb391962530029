"""The Go program is formatted as gofmt does, and go vet finds nothing; `make lint` looks at Python alone."""

import subprocess
from pathlib import Path

import pytest

from tests.interop.servers import GO_FOLDER

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("command", [("gofmt", "-l", "."), ("go", "vet", "./...")], ids=["gofmt", "vet"])
def test_nothing_is_found(command: tuple[str, ...], go_program: Path) -> None:
    assert go_program.is_file(), "go and the modules are there"
    done = subprocess.run(command, cwd=GO_FOLDER, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
