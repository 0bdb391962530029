"""The programs under test as child processes on free ports: the coordinator and the reference branches."""

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.ports import HOST, answers, free_port, is_listening
from tests.support.processes import Child, Process
from tests.support.servers import Database, PostgresDatabase
from tests.support.warm import Warm

ROOT = Path(__file__).resolve().parents[2]

Store = Database | Path | Mapping[str, Any]


def store_settings(store: Store) -> dict[str, Any]:
    """Return the Store section of conf.yml for a database or a SQLite file; others as they are."""
    match store:
        case Database():
            return {
                "Driver": "postgres" if isinstance(store, PostgresDatabase) else "mysql",
                "Host": store.host,
                "Port": store.port,
                "User": store.user,
                "Password": store.password,
                "Db": store.name,
            }
        case Path():
            return {"Driver": "sqlite", "Path": str(store)}
        case _:
            return dict(store)


class CoordinatorProcess(Process):
    """`dtm -c conf.yml` on free ports; ready when GET /api/ready says so.

    A killed one is started again with `start()`: same ports, same store.
    """

    def __init__(
        self,
        folder: Path,
        *,
        store: Store | None = None,
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        python: Path | str = sys.executable,
    ) -> None:
        """Write `folder`/conf.yml; nothing is started yet.

        store: None is a SQLite file in `folder`. settings: further keys of conf.yml, over ours.
        environment: added to the inherited one. arguments: more for the command line. python: that runs it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.configuration: dict[str, Any] = {
            "Host": HOST,
            "HttpPort": free_port(),
            "GrpcPort": free_port(),
            "Store": store_settings(store or folder / "dtm.db"),
            **(settings or {}),
        }
        self.http_port: int = self.configuration["HttpPort"]
        self.grpc_port: int = self.configuration["GrpcPort"]
        self.configuration_file = folder / "conf.yml"
        self.configuration_file.write_text(yaml.safe_dump(self.configuration), encoding="utf-8")
        words = ["-c", str(self.configuration_file), *arguments]
        whole = process_environment(environment)

        def fork(output: int) -> Child | None:
            if python != sys.executable or not _warm.can_start(whole):
                return None
            return _warm.start(words, folder, output)

        super().__init__(
            [str(python), "-m", "coordinator", *words],
            name="coordinator",
            environment=whole,
            folder=folder,
            ready=lambda: answers(f"{self.http_url}/api/ready"),
            fork=fork,
        )

    @property
    def http_url(self) -> str:
        """`http://127.0.0.1:port`, without the path."""
        return f"http://{HOST}:{self.http_port}"

    @property
    def api_url(self) -> str:
        """What HTTP clients are given: `http://127.0.0.1:port/api/dtmsvr`."""
        return f"{self.http_url}/api/dtmsvr"

    @property
    def grpc_address(self) -> str:
        """What gRPC clients are given: `127.0.0.1:port`."""
        return f"{HOST}:{self.grpc_port}"

    def query(self, gid: str) -> dict[str, Any]:
        """Return what the query call prints: `{"transaction": …, "branches": […]}`. Blocks."""
        url = f"{self.api_url}/query?{urllib.parse.urlencode({'gid': gid})}"
        with urllib.request.urlopen(url, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    def get(self, call: str) -> Any:
        """GET `/api/dtmsvr/<call>`; returns the parsed answer. Blocks."""
        with urllib.request.urlopen(f"{self.api_url}/{call}", timeout=10) as response:
            return json.load(response)

    def post(self, call: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        """POST to `/api/dtmsvr/<call>`; returns the status and the parsed answer, errors too. Blocks."""
        request = urllib.request.Request(f"{self.api_url}/{call}", json.dumps(body).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


class BranchProcess(Process):
    """`python -m branches.<name> -f <name>.yaml`; ready when its port accepts connections."""

    def __init__(
        self,
        name: str,
        folder: Path,
        configuration: Mapping[str, Any],
        *,
        port: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Write `folder`/<name>.yaml; nothing is started yet.

        name: user, score or api. configuration: the content of the yaml file, which names `port` itself.
        environment: added to the inherited one.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port
        self.configuration_file = folder / f"{name}.yaml"
        self.configuration_file.write_text(yaml.safe_dump(dict(configuration)), encoding="utf-8")
        super().__init__(
            [sys.executable, "-m", f"branches.{name}", "-f", str(self.configuration_file)],
            name=f"branches.{name}",
            environment=process_environment(environment),
            folder=folder,
            ready=lambda: is_listening(port),
        )

    @property
    def address(self) -> str:
        """`127.0.0.1:port`."""
        return f"{HOST}:{self.port}"


def process_environment(added: Mapping[str, str] | None) -> dict[str, str]:
    """Ours and these; with this checkout's packages, whatever is installed.

    Unbuffered, so that a kill loses no printed line.
    """
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(added or {})}


_warm = Warm(process_environment(None))
