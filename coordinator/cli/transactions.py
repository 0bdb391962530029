"""`dtm ls`, `show`, `why`, `watch`, `submit`: what is there, and how it goes on."""

import json
import time
from datetime import UTC, datetime
from typing import Any, Final

import click

from coordinator.cli.asking import API, OPERATE, Asking, asks, of_gid
from coordinator.cli.drawn import draw
from coordinator.cli.exits import Ended, Exit
from coordinator.cli.gids import gid_argument
from coordinator.cli.terminal import age, clock, progress, progress_over, safe, say, say_json, table

_PAGE: Final = 200
_POLL_SECONDS: Final = 0.5
_POLL_SECONDS_MAX: Final = 5.0
_ENDS: Final = {"succeed": Exit.OK, "failed": Exit.NOT_WELL}


@click.command("ls")
@click.argument("words", nargs=-1, metavar="[FILTER]...")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many at most."
)
@asks
def list_command(asking: Asking, words: tuple[str, ...], limit: int) -> None:
    """List transactions, the newest first.

    FILTER: status:aborting type:saga endpoint:ledger error:"refused" 'age:>5m'. A key twice means or, several
    keys and; what begins with - must not be so (put -- before it).
    """
    found: list[dict[str, Any]] = []
    after = looked_at = ""
    while True:
        progress(f"{len(found)} of at most {limit} …")
        size = str(min(_PAGE, limit - len(found)))
        page = asking.coordinator.get(
            f"{OPERATE}/transactions", filter=" ".join(words), after=after, limit=size
        )
        found += page["transactions"]
        after, looked_at = page["after"], page["looked_at"]
        if not after or len(found) >= limit:
            break
    progress_over()
    if asking.told(found):
        return
    now = datetime.now(UTC)
    table(("gid", "type", "status", "age", "code", "held up by"), [_line(it, now) for it in found])
    if after:
        say(f"There are more: --limit {limit * 10}")
    if looked_at:
        say(f"Not all were looked at, as no index serves this filter: {safe(looked_at)}.")


def _line(found: dict[str, Any], now: datetime) -> tuple[str, ...]:
    stuck = found["stuck"] or {}
    held = f"{stuck['endpoint']} {stuck['op']}: {stuck['error']}" if stuck else found["rollback_reason"]
    return (
        *(safe(found[name]) for name in ("gid", "trans_type", "status")),
        age(datetime.fromisoformat(found["create_time"]), now),
        safe(stuck.get("code", "")),
        safe(held)[:80],
    )


@click.command("show")
@gid_argument()
@asks
def show_command(asking: Asking, gid: str) -> None:
    """Draw a transaction: what was done, what was tried, what comes next, what to do."""
    answer = asking.coordinator.get(of_gid(gid))
    if not asking.told(answer):
        draw(answer, datetime.now(UTC))


@click.command("why")
@gid_argument()
@asks
def why_command(asking: Asking, gid: str) -> None:
    """Say in one sentence why a transaction is where it is, and what to do."""
    why = asking.coordinator.get(of_gid(gid))["why"]
    if not asking.told(why):
        say(f"{why['code']}  {safe(why['sentence'])}")
        say(safe(why["what_to_do"]))


@click.command("watch")
@gid_argument()
@click.option("--seconds", type=click.FloatRange(0), default=0.0, help="Give up after so long; 0: never.")
@asks
def watch_command(asking: Asking, gid: str, seconds: float) -> None:
    """Wait until a transaction has ended; say each step on the way.

    Exits with 0 when it has succeeded, 1 when it was rolled back or stopped, 7 when it had not ended in time.
    """
    raise SystemExit(_watch(asking, gid, seconds))


@click.command("submit")
@click.argument("file", type=click.File("rb"))
@click.option("--watch", "watches", is_flag=True, help="Wait until it has ended, as `dtm watch` does.")
@click.option("--seconds", type=click.FloatRange(0), default=0.0, help="With --watch: give up after so long.")
@asks
def submit_command(asking: Asking, file: Any, watches: bool, seconds: float) -> None:
    """Submit the transaction in FILE, JSON as the HTTP API takes it; `-` reads standard input.

    Without a gid it gets one, which is printed.
    """
    try:
        wanted = json.load(file)
    except (ValueError, RecursionError) as error:
        raise Ended(Exit.USAGE, f"{file.name} is not JSON: {error}") from error
    if not isinstance(wanted, dict):
        raise Ended(Exit.USAGE, f"{file.name} must hold a JSON object, the transaction")
    if not wanted.get("gid"):
        wanted["gid"] = asking.coordinator.get(f"{API}/newGid")["gid"]
    gid = str(wanted["gid"])
    asking.coordinator.post(f"{API}/submit", wanted)
    if not asking.told({"gid": gid}):
        say(safe(gid))
    if watches:
        raise SystemExit(_watch(asking, gid, seconds))


def _watch(asking: Asking, gid: str, seconds: float) -> int:
    began = time.monotonic()
    pause, said = _POLL_SECONDS, ""
    while True:
        answer = asking.coordinator.get(of_gid(gid))
        status, why = answer["transaction"]["status"], answer["why"]
        is_over = status in _ENDS
        line = f"{safe(status)}  {why['code']}  {safe(why['sentence'])}"
        if line != said:
            progress_over()
            if not asking.is_for_programs:
                say(f"{clock(datetime.now(UTC))}  {line}")
            elif asking.as_lines or is_over:
                say_json(answer, lines=asking.as_lines)
            said, pause = line, _POLL_SECONDS
        if is_over:
            return int(_ENDS[status])
        left = seconds - (time.monotonic() - began) if seconds else pause
        if left <= 0:
            raise Ended(Exit.TIMED_OUT, f"{gid} has not ended within {seconds:g} s")
        progress(f"waiting, {time.monotonic() - began:.0f} s …")
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _POLL_SECONDS_MAX)
