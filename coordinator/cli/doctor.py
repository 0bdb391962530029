"""`dtm doctor`: what is wrong with a coordinator and what it needs, part by part, and what to do."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from coordinator.cli.asking import API, Asking, asks
from coordinator.cli.exits import Ended, Exit
from coordinator.cli.terminal import GREEN, RED, gauges, safe, say

if TYPE_CHECKING:
    from coordinator.config.settings import Settings

_OLD_SECONDS: Final = 300  # a transaction that is unfinished for longer is worth a look


@dataclass(frozen=True, slots=True)
class Finding:
    """One part that was looked at. what_to_do: empty where all is well."""

    part: str
    said: str
    what_to_do: str = ""
    is_well: bool = True


@click.command("doctor")
@click.option(
    "-c", "file", type=click.Path(path_type=Path), metavar="FILE", help="Its configuration, on its machine."
)
@asks
def doctor_command(asking: Asking, file: Path | None) -> None:
    """Look at a coordinator and what it needs: what is wrong, what to do.

    With -c also at what only its own machine can reach: store, etcd, web hook, certificates. Exits with 1
    when anything is wrong.
    """
    findings = [*_of_coordinator(asking), *(_of_configuration(file) if file else ())]
    is_well = all(finding.is_well for finding in findings)
    if not asking.told([asdict(finding) for finding in findings]):
        for finding in findings:
            mark, colour = ("ok   ", GREEN) if finding.is_well else ("wrong", RED)
            say(f"{mark}  {finding.part}: {safe(finding.said)}", colour)
            if finding.what_to_do:
                say(f"       {safe(finding.what_to_do)}")
    if not is_well:
        raise SystemExit(Exit.NOT_WELL)


def _of_coordinator(asking: Asking) -> Iterator[Finding]:
    coordinator = asking.coordinator
    try:
        ready = coordinator.ready()
    except Ended as error:
        what_to_do = "start it, or name another one with --url; on its machine: dtm doctor -c FILE"
        yield Finding("coordinator", error.message, what_to_do, is_well=False)
        return
    version = coordinator.get(f"{API}/version").get("version", "?")
    yield Finding("coordinator", f"{coordinator.profile.url} answers, version {version}")
    for part, problem in ready.get("problems", {}).items():
        yield Finding(part, problem, "docs/operating.md, 'Is it well?'", is_well=False)
    for part, remark in ready.get("remarks", {}).items():
        yield Finding(part, remark, is_well=False)
    if not ready.get("problems"):
        yield Finding("ready", "it takes work: store, writes, fleet, recovery, room and clock are well")
    yield from _of_work(asking)


def _of_work(asking: Asking) -> Iterator[Finding]:
    """Whether something is stuck, as far as the figures tell."""
    try:
        found = gauges(asking.coordinator.text("/api/metrics"))
    except Ended as error:
        yield Finding("work", f"not looked at: {error.message}")
        return
    due, oldest = found.get("due", 0), found.get("oldest_seconds", 0)
    said = f"{due:.0f} transactions are due, the oldest unfinished one is {oldest:.0f} s old"
    if oldest > _OLD_SECONDS:
        yield Finding("work", said, "dtm inbox, then dtm show GID", is_well=False)
    else:
        yield Finding("work", said)


def _of_configuration(file: Path) -> Iterator[Finding]:
    """What `dtm check --connect` says."""
    from coordinator.cli.connect import Tried, try_to_connect
    from coordinator.config.read import ConfigError, load_settings

    try:
        settings = load_settings(file, os.environ).settings
    except ConfigError as error:
        yield Finding("configuration", str(error), f"dtm check -c {file}", is_well=False)
        return

    async def tried() -> list[Tried]:
        return [one async for one in try_to_connect(settings)]

    for one in asyncio.run(tried()):
        yield Finding(one.part, one.said, one.hint, is_well=one.is_reached)
        if one.part == "store" and one.is_reached:
            yield asyncio.run(_of_tables(settings, file))


async def _of_tables(settings: "Settings", file: Path) -> Finding:
    """What `dtm migrate` would do."""
    from coordinator.errors import StartError
    from coordinator.server.certificates import tls_of
    from coordinator.server.handed_out import store_config
    from coordinator.store.migration import migration

    try:
        async with migration(store_config(settings, tls_of(settings.store, "Store.CertFile"))) as database:
            steps = (await database.lacking()).steps
    except StartError as error:
        return Finding("tables", f"not looked at: {error.message}")
    if not steps:
        return Finding("tables", "lack nothing")
    said = "; ".join(step.said for step in steps)
    return Finding("tables", f"to be done: {said}", f"dtm migrate -c {file}", is_well=False)
