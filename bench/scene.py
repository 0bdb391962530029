"""One coordinator over MariaDB with a branch, to be filled, pressed or left running; what it holds."""

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.branch import BranchProcess
from bench.load import http_load
from bench.machine import children, cpu_seconds
from bench.sample import Load
from tests.support.ports import HOST
from tests.support.servers import Database, MariaDBServer
from tests.support.under_test import CoordinatorProcess

_PAGE_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Held:
    """What the coordinator's processes hold at a moment. cpu: seconds so far."""

    rss_mb: float
    descriptors: int
    cpu: float


@dataclass(frozen=True, slots=True)
class Scene:
    """A coordinator that runs, its database, and a branch that answers success."""

    coordinator: CoordinatorProcess
    database: Database
    server: MariaDBServer
    branch: str  # host:port

    @property
    def target(self) -> str:
        """host:port of its HTTP API."""
        return f"{HOST}:{self.coordinator.http_port}"

    def load(self, *, at_a_time: int, seconds: int) -> Load:
        """Sagas of two steps with wait_result, so many at a time; it has to have warmed up."""
        return http_load(
            self.target, self.branch, run_name(), pattern="saga", at_a_time=at_a_time, seconds=seconds
        )

    def held(self) -> Held:
        """Of all its processes together; what they share counts in each."""
        pids = [self.coordinator.pid, *children(self.coordinator.pid)]
        pages, descriptors = 0, 0
        for pid in pids:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                pages += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
                descriptors += len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return Held(pages * _PAGE_BYTES / 2**20, descriptors, cpu_seconds(self.coordinator.pid))

    def database_cpu(self) -> float:
        """Seconds of processor time that the database has used."""
        return cpu_seconds(self.server.process().pid)

    def unfinished(self) -> int:
        """How many transactions have not ended."""
        asked = "SELECT COUNT(*) FROM trans_global WHERE status NOT IN ('succeed', 'failed')"
        return int(str(self.database.execute(asked)[0][0]))


def run_name() -> str:
    """What the gids of a run begin with."""
    return uuid.uuid4().hex[:12]


@contextlib.contextmanager
def scene(settings: Mapping[str, Any] | None = None, *, workers: int = 1) -> Iterator[Scene]:
    """Start all of it, and end it. settings: of the coordinator."""
    with TemporaryDirectory(prefix="dtm-scene-") as name, MariaDBServer() as server:
        folder = Path(name)
        database = server.create_database("scene")
        arguments = ("--workers", str(workers)) if workers > 1 else ()
        kept = {"Access": {"Mode": "off"}, **(settings or {})}
        with (
            BranchProcess("http", folder / "branch") as branch,
            CoordinatorProcess(
                folder / "dtm", store=database, settings=kept, arguments=arguments
            ) as coordinator,
        ):
            yield Scene(coordinator, database, server, branch.address)
