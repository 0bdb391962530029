"""What the clients' programs need beside a coordinator: business databases, Redis, the Go program itself."""

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support import programs
from tests.support.servers import MariaDBServer, PostgresServer, RedisServer
from tests.support.under_test import ROOT, CoordinatorProcess

GO_FOLDER = ROOT / "tests" / "interop" / "go"
OFFLINE = ("dial tcp", "no such host", "i/o timeout", "proxyconnect", "network is unreachable")
KEPT_SECONDS = 30 * 24 * 3600  # a built program that nobody uses for so long is removed
GO_BUILD_SECONDS = 550  # the first time on a machine; with a warm cache it takes a few
ACCOUNT = "CREATE TABLE account (name varchar(128) PRIMARY KEY, balance int NOT NULL, held int NOT NULL);"
# A coordinator that looks often, so that a nudge is followed soon.
SETTINGS = {"TransCronInterval": 1, "ConfigUpdateInterval": 1}


@contextmanager
def business_stores(mariadb: MariaDBServer) -> Iterator[Mapping[str, str]]:
    """Yield the addresses of all the stores as the environment that the programs read.

    Raises MissingProgram when the machine lacks one of them.
    """
    barrier = (ROOT / "sql" / "barrier.mysql.sql").read_text("utf-8")
    postgres_barrier = (ROOT / "sql" / "barrier.postgres.sql").read_text("utf-8")
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        postgres = stack.enter_context(PostgresServer("-c", "max_prepared_transactions=50"))
        mariadb.database().execute(barrier)
        business = mariadb.create_database(schema=ACCOUNT)
        other = postgres.create_database(schema=ACCOUNT + postgres_barrier)
        yield {
            "INTEROP_MYSQL": f"mysql://root:@{business.host}:{business.port}/{business.name}",
            "INTEROP_POSTGRES": f"postgres://root:none@{other.host}:{other.port}/{other.name}",
            "INTEROP_REDIS": f"{redis.host}:{redis.port}",
        }


def coordinator_addresses(coordinator: CoordinatorProcess) -> Mapping[str, str]:
    """Return where the coordinator is, as the programs read it."""
    return {"INTEROP_HTTP": coordinator.http_url, "INTEROP_GRPC": coordinator.grpc_address}


def build_go() -> Path:
    """Return the Go program; what was built of the same sources by the same Go is taken as it is.

    Raises MissingProgram without Go or its modules, AssertionError when it does not build.
    """
    programs.require(programs.GO)
    programs.BUILT.mkdir(parents=True, exist_ok=True)
    target = programs.BUILT / f"interop-{_fingerprint()}"
    with _alone():  # several processes of a run want it in the same moment
        if target.is_file():
            os.utime(target)
        else:
            _forget_old_programs()
            _build(target)
    return target


def _fingerprint() -> str:
    """What the program is built from: every file of its folder, and which Go."""
    version = subprocess.run(["go", "version"], capture_output=True, check=True).stdout
    digest = hashlib.sha256(version)
    for file in sorted(it for it in GO_FOLDER.rglob("*") if it.is_file()):
        digest.update(f"{file.relative_to(GO_FOLDER)} {file.stat().st_size} ".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _alone() -> Iterator[None]:
    import fcntl  # not on Windows

    with (programs.BUILT / "interop.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget_old_programs() -> None:
    for old in programs.BUILT.glob("interop-*"):
        if time.time() - old.stat().st_mtime > KEPT_SECONDS:
            old.unlink()


def _build(target: Path) -> None:
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    command = ["go", "build", "-buildvcs=false", "-o", str(unfinished), "."]
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=GO_FOLDER, capture_output=True, text=True, timeout=GO_BUILD_SECONDS, check=False
    )
    if done.returncode != 0 and any(words in done.stderr for words in OFFLINE):
        raise programs.MissingProgram(f"go: its modules cannot be fetched:\n{done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, f"go build failed after {time.monotonic() - began:.0f} s:\n{done.stderr}"
    unfinished.replace(target)
