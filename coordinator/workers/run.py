"""The process that stands before the others: it holds no port and no row, and ends when it is told to."""

import asyncio
import signal
import socket
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Final

from coordinator.api.taken_port import cannot_listen
from coordinator.config.settings import Settings
from coordinator.errors import StartError
from coordinator.server.place import writes_files
from coordinator.telemetry.log import log
from coordinator.telemetry.log_output import Outputs, configure_logging
from coordinator.workers.child import Child, PassOn, start_child
from coordinator.workers.supervisor import Supervisor

_LOG_SECONDS: Final = 2.0  # for the last lines, at the end


@dataclass(frozen=True, slots=True)
class Words:
    """What each process is started with. first: what the first one alone is told, the first time."""

    all: Sequence[str]
    first: Sequence[str] = ()


def run_workers(settings: Settings, words: Words) -> int:
    """Run `settings.workers` processes until SIGTERM or SIGINT; returns the exit code. SIGHUP renews each.

    Raises StartError where they cannot start.
    """
    outputs = configure_logging(
        settings.log_level,
        settings.log.destinations,
        rotation=settings.log.rotation,
    )
    try:
        check_ports(settings)
        asyncio.run(_run(settings, words, outputs))
    finally:
        outputs.flush(_LOG_SECONDS)
    return 0


async def _run(settings: Settings, words: Words, outputs: Outputs) -> None:
    loop, count = asyncio.get_running_loop(), settings.workers
    folder = Path(tempfile.mkdtemp(prefix="dtm-"))  # for nobody but this user
    pass_on: PassOn | None = outputs.pass_on if writes_files(settings) else None
    untold = list(words.first)

    async def start(number: int) -> Child:
        own = [untold.pop() for _ in range(len(untold))] if number == 1 else []
        return await start_child(number, count, folder, [*own, *words.all], pass_on)

    with ExitStack() as at_end:
        at_end.callback(rmtree, folder, ignore_errors=True)
        supervisor = Supervisor(count, start, monotonic=loop.time)
        renewals: set[asyncio.Task[None]] = set()

        def renew() -> None:
            log.info("each of {} processes is ended and started anew, one after the other", count)
            renewals.add(task := asyncio.create_task(supervisor.renew()))
            task.add_done_callback(renewals.discard)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, supervisor.stop)
        loop.add_signal_handler(signal.SIGHUP, renew)
        said = await supervisor.start()
        outputs.say(f"{said}\n  workers  {count} processes share the ports")
        await supervisor.run()
        for task in tuple(renewals):
            task.cancel()
        if renewals:
            await asyncio.wait(renewals)


def check_ports(settings: Settings) -> None:
    """Raise StartError for a port that somebody listens on: those who share it must be ours alone."""
    operators = settings.operators
    wanted = [("HTTP", "HttpPort", settings.host, settings.http_port)]
    wanted.append(("gRPC", "GrpcPort", settings.host, settings.grpc_port))
    if operators.port:
        wanted.append(("HTTP", "Operators.Port", operators.host, operators.port))
    if operators.grpc_port:
        wanted.append(("gRPC", "Operators.GrpcPort", operators.host, operators.grpc_port))
    for protocol, key, host, port in wanted:
        if not port:
            raise StartError(
                f"{key} is 0, any free port, which several processes cannot share", "name a port"
            )
        try:
            family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, number) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(address)
                tried.listen()
        except OSError as error:
            raise cannot_listen(error, protocol, key, host, port) from error
