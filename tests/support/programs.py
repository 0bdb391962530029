"""Where the programs that tests start are found, and what to install where they are not."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

# Programs that are built once, outside of the repository.
BUILT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dtm-coordinator"
# Debian keeps servers in sbin, which is not on everybody's PATH.
SEARCH_PATH = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin", str(BUILT)]
)


@dataclass(frozen=True, slots=True)
class Requirement:
    """Programs that some tests cannot run without."""

    name: str
    programs: tuple[str, ...]  # all of them are needed
    apt_package: str  # on Debian and Ubuntu; several are separated by blanks; empty when there is none
    elsewhere: str  # what to install on other systems
    go_module: str = ""  # `module@version` that it is built from by Go
    go_package: str = ""  # its folder within


MARIADB = Requirement(
    name="mariadb",
    programs=("mariadbd", "mariadb-install-db"),
    apt_package="mariadb-server",
    elsewhere="MariaDB 10.6 or newer, with mariadbd and mariadb-install-db on PATH",
)
ETCD = Requirement(
    name="etcd",
    programs=("etcd", "etcdctl"),
    apt_package="etcd-server etcd-client",
    elsewhere="etcd 3.4 or newer, with etcd and etcdctl on PATH",
)
CURL = Requirement(
    name="curl",
    programs=("curl",),
    apt_package="curl",
    elsewhere="curl",
)
POSTGRES = Requirement(
    name="postgres",
    programs=("postgres", "initdb"),
    apt_package="postgresql",
    elsewhere="PostgreSQL 14 or newer, with postgres and initdb on PATH",
)
REDIS = Requirement(
    name="redis",
    programs=("redis-server",),
    apt_package="redis-server",
    elsewhere="Redis 6 or newer, with redis-server on PATH",
)
GO = Requirement(
    name="go",
    programs=("go",),
    apt_package="golang-go (1.22 or newer)",
    elsewhere="Go 1.22 or newer",
)
PROMETHEUS = Requirement(
    name="prometheus",
    programs=("prometheus", "promtool"),
    apt_package="prometheus",
    elsewhere="Prometheus 2.42 or newer, with prometheus and promtool on PATH",
)
CHROMIUM = Requirement(
    name="chromium",
    programs=("chromium",),
    apt_package="chromium fonts-wqy-microhei",  # with letters for the pages in Chinese
    elsewhere="Chromium, with chromium on PATH",
)
JAEGER = Requirement(
    name="jaeger",
    programs=("jaeger-all-in-one-1.62.0",),
    apt_package="",
    elsewhere="Go 1.22 or newer, and run make servers, which builds Jaeger in two minutes",
    go_module="github.com/jaegertracing/jaeger@v1.62.0",
    go_package="./cmd/all-in-one",
)
# What `make servers` gets by apt, or builds; Go is not among it, because distributions carry old ones.
WRK = Requirement(name="wrk", programs=("wrk",), apt_package="wrk", elsewhere="wrk 4, with wrk on PATH")
ALL = (WRK, MARIADB, POSTGRES, REDIS, ETCD, CURL, PROMETHEUS, CHROMIUM, JAEGER)


class MissingProgram(Exception):
    """A program that a test needs is not on this machine; the text says what to install."""


def find(program: str) -> str | None:
    """Return the program's path, or None."""
    return shutil.which(program, path=os.pathsep.join([SEARCH_PATH, *_postgres_folders()]))


def _postgres_folders() -> list[str]:
    """Debian keeps each version's programs in a folder of its own; newest first."""
    folders = [folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if folder.is_dir()]
    return [str(it) for it in sorted(folders, key=lambda it: _number(it.parent.name), reverse=True)]


def _number(version: str) -> int:
    digits = re.match(r"\d+", version)
    return int(digits[0]) if digits else 0


def missing(requirement: Requirement) -> list[str]:
    """Return the programs of `requirement` that are not there."""
    return [program for program in requirement.programs if find(program) is None]


def require(requirement: Requirement) -> None:
    """Raise MissingProgram unless all its programs are there."""
    absent = missing(requirement)
    if absent:
        what = f"{requirement.name}: {', '.join(absent)} not found"
        if not requirement.apt_package:
            raise MissingProgram(f"{what}; install {requirement.elsewhere}")
        raise MissingProgram(
            f"{what}; on Debian or Ubuntu install {requirement.apt_package},"
            f" elsewhere {requirement.elsewhere}"
        )
