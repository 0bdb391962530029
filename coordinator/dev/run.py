"""`dtm dev`: services, what has happened before, and a coordinator; nothing of it is left behind."""

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from coordinator.backoff import Timing
from coordinator.client import Dtm
from coordinator.config.access import Access
from coordinator.config.settings import Log, Settings
from coordinator.config.store import Store
from coordinator.dev.examples import EVENTS, EXAMPLES, HOURS, ORDERS
from coordinator.dev.past import Past, ago
from coordinator.dev.present import BEGUN, PLACES, begin
from coordinator.dev.services import HOST, SERVICES, Services
from coordinator.dev.staff import PASSWORD, STAFF, let_in
from coordinator.server.process import new_loop
from coordinator.server.server import Server
from coordinator.store.open import StoreConfig
from coordinator.telemetry.log_output import Outputs, configure_logging
from coordinator.testing.inside import TravellingClock, open_inside

_CALL_SECONDS: Final = 1  # one call of a branch
_INTERVAL_SECONDS_MAX: Final = 1200  # hours have few rounds then, and can pass in a second
# Bounded; and one that is not watched is not made anew when it is removed.
_LOG_ROTATION: Final = {"maxsize": 10, "maxbackups": 1}
_IN_MEMORY: Final = Path("/dev/shm")


def run(*, http_port: int, grpc_port: int, log_in: bool, say: Callable[[str], None]) -> int:
    """Run it until SIGTERM or SIGINT; returns the process's exit code. port: 0 is any free one.

    log_in: whether people must. say: told where to look, when all is there. Raises StartError.
    """
    with tempfile.TemporaryDirectory(prefix=f"dtm-dev-{os.getpid()}-", dir=_folder_in_memory()) as folder:
        settings = _settings(Path(folder), http_port or _free_port(), grpc_port, log_in=log_in)
        outputs = _log(
            settings, "error"
        )  # of hours that pass in a second; their times are not those of lines
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(_serve(settings, say))
        finally:
            outputs.flush(0.2)
    return 0


async def _serve(settings: Settings, say: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as opened:
        services = await opened.enter_async_context(Services())
        place = f"{HOST}:{settings.http_port}"
        token = await _let_happen(settings, services, place)
        server = Server(settings, reset=False)
        _log(settings, "info")
        await server.start()
        opened.push_async_callback(server.stop)
        async with Dtm(f"http://{place}") as dtm:
            await begin(dtm, services, settings.store.path, token)
        say(_where(f"http://{place}", services, log_in=settings.access.mode != "off"))
        await stop.wait()
        await services.close()  # what hangs there would be waited for


async def _let_happen(settings: Settings, services: Services, own_place: str) -> str:
    """Hours of it, from the first event until now; returns an operator's token, where one is needed."""
    now = datetime.now(UTC)
    clock = TravellingClock(ago(now, 60 * HOURS))
    timing = Timing(request_timeout=_CALL_SECONDS, retry_interval_max=_INTERVAL_SECONDS_MAX)
    async with AsyncExitStack() as opened:
        store = StoreConfig(path=str(settings.store.path))
        inside = await open_inside(opened, clock, timing, store_config=store, instance=settings.instance_name)
        past = Past(inside, services, own_place)
        happenings = [(it.minutes, it.happens) for it in EVENTS]
        happenings += [(it.minutes, it.happens) for it in EXAMPLES]
        for minutes, happens in sorted(happenings, key=lambda it: -it[0]):
            await past.until(ago(now, minutes))
            await happens(past)
        await past.until(now)
        if settings.access.mode == "off":
            return ""
        return await let_in(inside.store, inside.recorder, clock)


def _log(settings: Settings, level: str) -> Outputs:
    return configure_logging(level, settings.log.destinations, rotation=_LOG_ROTATION)


def _settings(folder: Path, http_port: int, grpc_port: int, *, log_in: bool) -> Settings:
    return Settings(
        store=Store(path=folder / "dtm.db"),
        host=HOST,
        http_port=http_port,
        grpc_port=grpc_port,
        request_timeout=_CALL_SECONDS,
        retry_interval_max=_INTERVAL_SECONDS_MAX,
        endpoint_concurrency_max=PLACES,
        access=Access(mode="operators" if log_in else "off"),
        time_zone_offset="+0",
        instance_name="dev",
        log=Log(outputs=str(folder / "dtm.log")),
    )


def _folder_in_memory() -> Path | None:
    """Where files are that need no disk; None where there is no such folder."""
    return _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None


def _free_port() -> int:
    """One that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _where(url: str, services: Services, *, log_in: bool) -> str:
    found = [(it.gid, it.code, it.what) for it in EXAMPLES]
    found += [(it.gid, it.code, it.what) for it in BEGUN]
    width = max(len(gid) for gid, _, _ in found)
    who = f"  log in as {' or '.join(STAFF)}, with the password: {PASSWORD}\n" if log_in else ""
    lines = [f"  {gid:<{width}}  {code}  {what}" for gid, code, what in found]
    return "\n".join(
        (
            f"dtm dev: a coordinator to try out, at {url}/ (open it); nothing is kept when it ends (Ctrl-C)",
            who,
            *lines,
            f"  {f'order-001 … {ORDERS}':<{width}}  W15  {ORDERS} on one endpoint that answers 503",
            "",
            f"  ask it:          dtm --url {url} inbox",
            f"  mend a service:  curl -X POST {services.url('shop', '/mend/')}NAME",
            f"                   NAME is one of {', '.join(name for name in SERVICES if name != 'shop')}",
        )
    )
