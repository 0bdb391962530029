"""`dtm` without a subcommand: the server, as one process or as several."""

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordinator.cli.configured import EXIT_START_FAILED, load, say_error

if TYPE_CHECKING:
    from coordinator.config.read import Loaded
    from coordinator.config.settings import Settings


def serve(
    context: click.Context,
    file: Path | None,
    *,
    debug: bool,
    reset: bool,
    workers: int | None,
    worker: str | None,
) -> int:
    """Run the server until it is told to stop; returns the exit code.

    workers: instead of what the configuration says. worker: the place of one of several processes.
    """
    from coordinator.errors import StartError

    loaded = load(context, file, {} if workers is None else {"WORKERS": str(workers)})
    settings = loaded.settings.model_copy(update={"log_level": "debug"}) if debug else loaded.settings
    if reset and worker is None:
        click.echo(
            f"dtm: -r drops the coordinator's tables in {settings.store.address} and makes them anew;"
            " every transaction in them is lost.",
            err=True,
        )
    try:
        if worker is None and settings.workers > 1:
            return _several(settings, file, debug=debug, reset=reset)
        return _one(loaded, settings, reset=reset, worker=worker)
    except StartError as error:
        say_error(error.message, error.hint)
        return EXIT_START_FAILED


def _one(loaded: "Loaded", settings: "Settings", *, reset: bool, worker: str | None) -> int:
    gc.disable()  # what is imported stays: to look for garbage in it is a seventh of the start
    from coordinator.server.place import Place  # the whole server: only now that it is needed
    from coordinator.server.process import run

    gc.enable()
    by_hand = {"LogLevel": "-d"} if settings is not loaded.settings else {}
    return run(
        settings,
        reset=reset,
        notices=loaded.notices,
        warnings=loaded.warnings,
        sources={**loaded.sources, **by_hand},
        place=None if worker is None else Place.parse(worker),
    )


def _several(settings: "Settings", file: Path | None, *, debug: bool, reset: bool) -> int:
    from coordinator.workers.run import Words, run_workers

    words = [*(["-c", str(file)] if file else []), *(["-d"] if debug else [])]
    words += ["--workers", str(settings.workers)]
    return run_workers(settings, Words(words, ["-r"] if reset else []))
