"""`dtm dev` as a child process, for tests that look at its coordinator and its console."""

import re
import sys
from pathlib import Path
from typing import Any

from tests.support.processes import Process
from tests.support.under_test import process_environment

_READY = re.compile(r"^dtm dev: .* at (http://\S+)/ ", re.MULTILINE)
_MEND = re.compile(r"curl -X POST (http://\S+/mend/)NAME")
START_SECONDS = 180.0  # a machine that others use


class DevProcess(Process):
    """Ready when it has said where to look."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        """folder: where it is run; nothing is started yet."""
        super().__init__(
            [sys.executable, "-m", "coordinator", "dev", *arguments],
            name="dtm dev",
            environment=process_environment(None),
            folder=folder,
            ready=lambda: _READY.search(self.output()) is not None,
            start_seconds=START_SECONDS,
            stop_seconds=START_SECONDS,
        )

    def __exit__(self, *error: Any) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Of its coordinator: `http://127.0.0.1:port`."""
        found = _READY.search(self.output())
        assert found is not None, self.output()
        return found[1]

    @property
    def mend_url(self) -> str:
        """Where a service's name is appended to, for it to be mended by a POST."""
        found = _MEND.search(self.output())
        assert found is not None, self.output()
        return found[1]
