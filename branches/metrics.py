"""A service's metrics under the names that go-zero's dashboards know, and the port they are asked at."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from branches.running import cannot_listen
from branches.settings import PrometheusSection

HTTP_BUCKETS: Final = (5, 10, 25, 50, 100, 250, 500, 750, 1000)  # milliseconds, go-zero's
RPC_BUCKETS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2000, 5000)


class Metrics:
    """What one service counts. Labels are bounded: whoever reports gives routes and methods it knows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._http_duration = Histogram(
            "http_server_requests_duration_ms",
            "Milliseconds to the answer.",
            ("path", "method"),
            buckets=HTTP_BUCKETS,
            registry=self.registry,
        )
        self._http_codes = Counter(
            "http_server_requests_code",
            "Requests answered, by status code.",
            ("path", "method", "code"),
            registry=self.registry,
        )
        self._rpc_duration = Histogram(
            "rpc_server_requests_duration_ms",
            "Milliseconds to the answer.",
            ("method",),
            buckets=RPC_BUCKETS,
            registry=self.registry,
        )
        self._rpc_codes = Counter(
            "rpc_server_requests_code",
            "Calls answered, by gRPC status code.",
            ("method", "code"),
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def http_done(self, path: str, method: str, code: int, seconds: float) -> None:
        """A request of a known route was answered."""
        self._http_duration.labels(path, method).observe(seconds * 1000)
        self._http_codes.labels(path, method, str(code)).inc()

    def rpc_done(self, method: str, code: int, seconds: float) -> None:
        """A call of a known method was answered. method: /package.Service/Method."""
        self._rpc_duration.labels(method).observe(seconds * 1000)
        self._rpc_codes.labels(method, str(code)).inc()


@asynccontextmanager
async def served_metrics(section: PrometheusSection, metrics: Metrics) -> AsyncIterator[None]:
    """Answer scrapes at `Prometheus: {Host, Port, Path}` while the block runs; without a port not at all.

    Raises StartError when it cannot listen.
    """
    if not section.port:
        yield
        return

    async def show(_request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    application = web.Application()
    application.router.add_get(section.path, show)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, section.host or None, section.port).start()
        except OSError as error:
            raise cannot_listen(section.host, section.port, error, what="Prometheus") from error
        yield
    finally:
        await runner.cleanup()
