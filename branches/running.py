"""Running one service: command line, start, stop on SIGTERM, and the sentences for what can go wrong."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from branches.logs import configure_service_logging
from branches.settings import ROOT, ServiceSettings, SettingsError, SettingsT, load_settings
from coordinator.client.service import StartError as LogError

EXIT_CONFIG: Final = 2
EXIT_START: Final = 1
GRACE_SECONDS: Final = 10  # for running calls, between SIGTERM and the end


class StartError(Exception):
    """The service cannot start; the message is for the operator's terminal."""


def main(
    name: str, kind: type[SettingsT], run: Callable[[SettingsT], Awaitable[None]], arguments: list[str]
) -> int:
    """Read the command line and the yaml, run the service until it is told to stop, return the exit code.

    name: of the default file, conf/<name>.yaml.
    """
    parser = argparse.ArgumentParser(prog=f"python -m branches.{name}", description=f"The {name} service.")
    parser.add_argument(
        "-f",
        dest="file",
        type=Path,
        default=ROOT / "conf" / f"{name}.yaml",
        help="its yaml file (%(default)s)",
    )
    file: Path = parser.parse_args(arguments).file
    try:
        settings = load_settings(file, kind)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIG
    try:
        configure_service_logging(settings.log, settings.name, settings.secrets)
    except LogError as error:
        sys.stderr.write(f"{settings.name}: {error}\n")
        return EXIT_START
    try:
        _run(run(settings))
    except StartError as error:
        sys.stderr.write(f"{settings.name}: {error}\n")
        return EXIT_START
    return 0


def _run(work: Awaitable[None]) -> None:
    async def whole() -> None:
        await work

    try:
        import uvloop
    except ModuleNotFoundError:  # there is none on Windows
        asyncio.run(whole())
    else:
        uvloop.run(whole())


@asynccontextmanager
async def until_told_to_stop() -> AsyncIterator[asyncio.Event]:
    """Yield an event that SIGTERM and SIGINT set; a second signal ends the process at once."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell() -> None:
        if told.is_set():
            os._exit(EXIT_START)
        told.set()

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, tell)
    try:
        yield told
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def say_ready(settings: ServiceSettings, host: str, port: int, *more: str) -> None:
    """Print the one line that says where the service is, with the real port."""
    shown = f"[{host}]" if ":" in host else host or "0.0.0.0"
    sys.stdout.write(f"{settings.name} listens on {shown}:{port}{''.join(f', {item}' for item in more)}\n")
    sys.stdout.flush()


def cannot_listen(host: str, port: int, error: OSError, *, what: str = "") -> StartError:
    """The sentence for a port that is taken, or an address that is not this machine's. what: its section."""
    place = f"{what}{': ' if what else ''}cannot listen on {host}:{port}"
    return StartError(f"{place}: {error.strerror or error}. Choose another in the yaml.")
