"""Throw-away Prometheus and Jaeger, which look at what is under test."""

import json
import os
import random
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.support import programs
from tests.support.ports import answers, free_port
from tests.support.processes import Process
from tests.support.servers import ThrowAwayServer, program_path


class PrometheusServer(ThrowAwayServer):
    """Prometheus on a configuration file, which it reads with the files that lie beside it."""

    requirement = programs.PROMETHEUS

    def __init__(self, configuration: Path) -> None:
        super().__init__()
        self._configuration = configuration

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`."""
        return f"http://{self.host}:{self.port}"

    def ask(self, path: str, **parameters: str) -> Any:
        """Return `data` of an answer of its HTTP API. Raises AssertionError with its error."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{url}: {error.read().decode(errors='replace')}") from error
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of an expression now: labels (`metric`) and `value` each."""
        result: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return result

    def _prepare(self) -> Process:
        command = [
            *(program_path("prometheus"), f"--config.file={self._configuration}"),
            *(f"--storage.tsdb.path={self.folder / 'data'}", f"--web.listen-address={self.host}:{self.port}"),
            "--log.level=warn",
        ]
        return Process(command, name="prometheus", ready=lambda: answers(f"{self.url}/-/ready"))


class JaegerServer(ThrowAwayServer):
    """Jaeger all-in-one, its spans in memory.

    It listens for OTLP on the standard port 4318 of a loopback address of its own, so that the Thrift address
    of go-zero's files, `thrift_endpoint`, leads there.
    """

    requirement = programs.JAEGER

    def __init__(self) -> None:
        super().__init__()
        self._own_host = ".".join(["127", *(str(random.SystemRandom().randint(2, 250)) for _ in range(3))])

    @property
    def thrift_endpoint(self) -> str:
        """What go-zero's Endpoint is for Batcher jaeger."""
        return f"http://{self._own_host}:14268/api/traces"

    @property
    def otlp_endpoint(self) -> str:
        """`host:port` for OTLP over HTTP."""
        return f"{self._own_host}:4318"

    @property
    def otlp_grpc_endpoint(self) -> str:
        """`host:port` for OTLP over gRPC."""
        return f"{self._own_host}:4317"

    @property
    def zipkin_endpoint(self) -> str:
        """For Zipkin's JSON."""
        return f"http://{self._own_host}:9411/api/v2/spans"

    @property
    def url(self) -> str:
        """Of the query API and the pages."""
        return f"http://{self.host}:{self.port}"

    def traces(self, service: str, **tags: str) -> list[dict[str, Any]]:
        """Return the traces in which this service has a span with these tags, as Jaeger's API shows them."""
        parameters = {"service": service, "limit": "100", "lookback": "1h", "tags": json.dumps(tags)}
        url = f"{self.url}/api/traces?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as response:
            found: list[dict[str, Any]] = json.load(response)["data"]
        return found

    def _prepare(self) -> Process:
        def on_free_port() -> str:
            return f"{self.host}:{free_port()}"

        admin, own = on_free_port(), self._own_host
        command = [
            *(
                program_path(programs.JAEGER.programs[0]),
                "--log-level=error",
                f"--admin.http.host-port={admin}",
            ),
            *(f"--query.http-server.host-port={self.host}:{self.port}",),
            *(f"--query.grpc-server.host-port={on_free_port()}",),
            *(f"--collector.http-server.host-port={own}:14268",),
            *(f"--collector.grpc-server.host-port={own}:14250",),
            *(f"--collector.otlp.http.host-port={own}:4318", f"--collector.otlp.grpc.host-port={own}:4317"),
            *(f"--collector.zipkin.host-port={own}:9411",),
            *(f"--processor.jaeger-binary.server-host-port={own}:6832",),
            *(f"--processor.jaeger-compact.server-host-port={own}:6831",),
            *(f"--processor.zipkin-compact.server-host-port={own}:5775",),
            *(f"--http-server.host-port={own}:5778",),
        ]
        environment = {**os.environ, "SPAN_STORAGE_TYPE": "memory"}
        return Process(
            command, name="jaeger", environment=environment, ready=lambda: answers(f"http://{admin}/")
        )
