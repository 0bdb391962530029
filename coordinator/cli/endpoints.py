"""`dtm endpoints`, `hold`, `release`: where branches live, and calling nothing there for a while."""

import re
from datetime import datetime
from typing import Any, Final

import click

from coordinator.cli.asking import OPERATE, Asking, asks
from coordinator.cli.terminal import clock, safe, say, table

_SPAN: Final = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?")
_UNITS: Final = (86_400, 3600, 60, 1)
_ERRORS_SHOWN: Final = 3


def _span(_context: click.Context, _parameter: click.Parameter, text: str) -> int:
    found = _SPAN.fullmatch(text.strip().lower())
    if not text.strip() or found is None:
        raise click.BadParameter(f"{text!r} is no time such as 30m, 2h or 1h30m")
    return sum(int(many or 0) * unit for many, unit in zip(found.groups(), _UNITS, strict=True))


@click.command("endpoints")
@click.argument("endpoint", default="", metavar="[ENDPOINT]")
@asks
def endpoints_command(asking: Asking, endpoint: str) -> None:
    """List where branches live: how calls from this coordinator went lately, what waits, what is held.

    ENDPOINT: one of them, by any of its urls.
    """
    answer = asking.coordinator.get(f"{OPERATE}/endpoints", endpoint=endpoint)
    if asking.told(answer["endpoints"] if asking.as_lines or endpoint == "" else answer["endpoints"][0]):
        return
    if endpoint:
        _draw_one(answer["endpoints"][0])
        return
    columns = ("endpoint", "success", "median", "p99", "running", "window", "stuck", "held until")
    rows = [
        (
            safe(it["endpoint"]),
            _share(it["success_rate"]),
            _seconds(it["median_seconds"]),
            _seconds(it["p99_seconds"]),
            str(it["running"]),
            str(it["window"]),
            str(it["stuck"]),
            clock(datetime.fromisoformat(it["hold"]["until"])) if it["hold"] else "",
        )
        for it in answer["endpoints"]
    ]
    table(columns, rows)


@click.command("hold")
@click.argument("endpoint")
@click.option(
    "--for",
    "seconds",
    required=True,
    callback=_span,
    metavar="TIME",
    help="How long: 30m, 2h, 1d; at most 30 days.",
)
@click.option("--reason", required=True, metavar="TEXT", help="For whoever finds it held, and in the audit.")
@asks
def hold_command(asking: Asking, endpoint: str, seconds: int, reason: str) -> None:
    """Have no coordinator call ENDPOINT for a while: a known outage.

    What is to be called there waits and counts as no failure; it goes on when the time is over, or with dtm
    release. A Go server on the same database does not know of it.
    """
    wanted = {"endpoint": endpoint, "seconds": seconds, "reason": reason}
    made = asking.coordinator.post(f"{OPERATE}/holds", wanted)
    if asking.told(made["hold"]):
        return
    hold = made["hold"]
    until = datetime.fromisoformat(hold["until"])
    say(f"No call to {safe(hold['endpoint'])} starts before {clock(until)}.")
    say("In 5 seconds every coordinator knows.")
    say(f"Before: dtm release {safe(hold['endpoint'])}")


@click.command("release")
@click.argument("endpoint")
@click.option("--reason", default="", metavar="TEXT", help="Stands in the audit.")
@asks
def release_command(asking: Asking, endpoint: str, reason: str) -> None:
    """Have calls to ENDPOINT begin again."""
    answer = asking.coordinator.post(f"{OPERATE}/holds/release", {"endpoint": endpoint, "reason": reason})
    if not asking.told(answer):
        say("Released: what waits for it is called, as fast as it takes it.")


def _draw_one(it: dict[str, Any]) -> None:
    say(safe(it["endpoint"]))
    if hold := it["hold"]:
        until = datetime.fromisoformat(hold["until"])
        say(f"  held until {clock(until)} by {safe(hold['who'])}: {safe(hold['reason'])}")
    calls = ", ".join(f"{many} {name}" for name, many in it["calls"].items() if many)
    say(f"  calls     {calls or 'none'} in the last minutes; {it['running']} running, of {it['window']}")
    if calls:
        say(f"  took      {_seconds(it['median_seconds'])} median, {_seconds(it['p99_seconds'])} p99")
    say(f"  waiting   {it['queue']} calls for a place, {it['at_hand']} transactions for room")
    since = f" since {clock(datetime.fromisoformat(it['stuck_since']))}" if it["stuck_since"] else ""
    say(f"  stuck     {it['stuck']}{since}")
    for group in it["errors"][:_ERRORS_SHOWN]:
        say(f"            {group['count']} {safe(group['op'])}: {safe(group['fingerprint'])}")


def _share(rate: float | None) -> str:
    return "" if rate is None else f"{100 * rate:.1f} %"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
