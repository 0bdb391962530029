"""The process around a server: its event loop, its signals, its exit code."""

import asyncio
import gc
import os
import signal
from collections.abc import Sequence
from typing import Final

from coordinator.config.settings import Settings
from coordinator.errors import StartError
from coordinator.server.listening import STOP_SECONDS
from coordinator.server.looking import Sources
from coordinator.server.observing import secrets_of
from coordinator.server.place import Place
from coordinator.server.server import Server
from coordinator.telemetry.log import log
from coordinator.telemetry.log_output import Outputs, configure_logging

_LOG_SECONDS: Final = 2.0  # for the last lines, at the end
_LOG_SECONDS_IN_HASTE: Final = 0.2
_COLLECTOR_THRESHOLDS: Final = (20_000, 20, 100)  # objects, and generations, between two looks


def run(
    settings: Settings,
    *,
    reset: bool,
    notices: Sequence[str] = (),
    warnings: Sequence[str] = (),
    sources: Sources | None = None,
    place: Place | None = None,
) -> int:
    """Run a coordinator until SIGTERM or SIGINT; returns the process's exit code.

    sources: where settings were written.
    place: among several processes, of which the first one tells notices and warnings; None: it is alone.
    Raises StartError where it cannot start.
    """
    outputs = configure_logging(
        settings.log_level,
        settings.log.destinations if place is None else place.log_outputs(settings),
        rotation=settings.log.rotation,
        secrets=secrets_of(settings),
    )
    if place is None or place.number == 1:
        for notice in notices:
            log.info(notice)
        for warning in warnings:
            log.warning(warning)
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(_serve(Server(settings, reset=reset, place=place, sources=sources), outputs, place))
    finally:
        outputs.flush(_LOG_SECONDS)  # before what is said of an error, in order
    return 0


async def _serve(server: Server, outputs: Outputs, place: Place | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _asked_to_stop, stop, outputs)
    if place is not None:  # who started us wants us to stop, or has gone
        loop.add_reader(place.life, _left_alone, loop, place.life, stop)
    starting = asyncio.create_task(server.start())
    asked = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():  # for instance while it waits for its database
        starting.cancel()
        await asyncio.wait({starting})
        return
    try:
        said = await starting
    except StartError:
        asked.cancel()
        raise
    if place is None:
        outputs.say(said)  # for the operator, whatever the log level
    else:
        place.say_ready(said)
    _calm_collector()
    await asked
    log.info("stopping; running calls have {:.0f} s to end", STOP_SECONDS)
    await server.stop()


def _calm_collector() -> None:
    """Let the garbage collector leave alone what lives as long as the process, and look less often.

    Requests leave hardly any cycles behind; looking for them through everything that waits took a tenth of
    the processor, and showed in the slowest answers.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTOR_THRESHOLDS)


def _left_alone(loop: asyncio.AbstractEventLoop, life: int, stop: asyncio.Event) -> None:
    loop.remove_reader(life)
    stop.set()


def _asked_to_stop(stop: asyncio.Event, outputs: Outputs) -> None:
    if stop.is_set():  # asked twice: end now, which loses nothing that was acknowledged
        outputs.flush(_LOG_SECONDS_IN_HASTE)
        os._exit(1)
    stop.set()


def new_loop() -> asyncio.AbstractEventLoop:
    """The quickest that is installed."""
    try:
        import uvloop
    except ImportError:  # not on Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
