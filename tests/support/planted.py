"""A coordinator and a service in which a problem is planted, looked at with a person's commands."""

import json
import os
import sqlite3
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner, Result

from coordinator.cli.main import main
from tests.support.ports import HOST
from tests.support.under_test import CoordinatorProcess, Store

SECONDS = 90.0


class Service(ThreadingHTTPServer):
    """Answers with the status that the path begins with, `/422/book`; `/hang` and `/cut` do what they say.

    mended: every call is answered 200, also one that hangs. certificate: PEM file, for https.
    """

    daemon_threads = True

    def __init__(self, certificate: Path | None = None) -> None:
        self.mended = threading.Event()
        super().__init__((HOST, 0), _Answering)
        self._scheme = "http"
        if certificate is not None:
            self._scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def url(self) -> str:
        return f"{self._scheme}://{HOST}:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """Say nothing of a caller that does not like the certificate."""


class _Answering(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        first = self.path.partition("?")[0].split("/")[1]
        assert isinstance(self.server, Service)
        if first == "hang":
            self.server.mended.wait(SECONDS)
        is_cut = first == "cut" and not self.server.mended.is_set()
        self.send_response(int(first) if first.isdigit() and not self.server.mended.is_set() else 200)
        self.send_header("Content-Length", "10" if is_cut else "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_: Any) -> None:
        pass


@dataclass
class World:
    """One coordinator and one service. file: the coordinator's database."""

    coordinator: CoordinatorProcess
    service: Service
    file: Path

    def dtm(self, *words: str, stdin: str | None = None) -> Result:
        """What the command prints."""
        environment = {**dict.fromkeys(os.environ), "DTM_URL": self.coordinator.http_url, "HOME": "/nowhere"}
        return CliRunner().invoke(main, words, env=environment, input=stdin)

    def code(self, gid: str) -> str:
        """What `dtm why` says."""
        done = self.dtm("why", gid, "--json")
        return str(json.loads(done.stdout)["code"]) if done.exit_code == 0 else done.output

    def status(self, gid: str) -> str:
        """The transaction's status."""
        return str(self.coordinator.query(gid)["transaction"]["status"])

    def submit(self, gid: str, *steps: tuple[str, str], trans_type: str = "saga", **given: Any) -> None:
        """Each step is the url of its action, and of what undoes it."""
        document = {
            "gid": gid,
            "trans_type": trans_type,
            "payloads": ["{}"] * len(steps),
            "steps": [{"action": action, "compensate": undo} for action, undo in steps],
            **given,
        }
        assert self.dtm("submit", "-", stdin=json.dumps(document)).exit_code == 0

    def write(self, sql: str) -> None:
        """As another coordinator would, that shares the database."""
        with sqlite3.connect(self.file, timeout=10) as connection:
            assert connection.execute(sql).rowcount >= 1
        connection.close()

    def restart(self, **settings: Any) -> None:
        """Start the coordinator anew, with further keys of conf.yml."""
        self.coordinator.stop()
        configuration = {**self.coordinator.configuration, **settings}
        self.coordinator.configuration_file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        self.coordinator.start()


@contextmanager
def planted_world(
    folder: Path,
    *,
    certificate: Path | None = None,
    store: Store | None = None,
    environment: Mapping[str, str] | None = None,
    **settings: Any,
) -> Iterator[World]:
    """Both, running. certificate: the service's. What the coordinator printed is shown when a test fails."""
    home = folder / "coordinator"
    settings = {"RequestTimeout": 1, **settings}
    coordinator = CoordinatorProcess(home, store=store, settings=settings, environment=environment).start()
    service = Service(certificate)
    thread = threading.Thread(target=service.serve_forever)
    thread.start()
    try:
        yield World(coordinator, service, home / "dtm.db")
    finally:
        service.mended.set()
        service.shutdown()
        thread.join()
        service.server_close()
        print(coordinator.output())
        coordinator.close()
