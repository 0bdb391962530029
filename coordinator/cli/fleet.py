"""`dtm inbox`, `nodes`, `audit`, `top`: everything at once, rather than one transaction."""

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from coordinator.cli.asking import OPERATE, Asking, asks
from coordinator.cli.terminal import GREEN, RED, age, clear, clock, gauges, safe, say, table

_PAGE: Final = 200


@click.command("inbox")
@asks
def inbox_command(asking: Asking) -> None:
    """Say what is stuck, by endpoint, operation and what it says."""
    inbox = asking.coordinator.get(f"{OPERATE}/inbox")
    if asking.told(inbox["groups"] if asking.as_lines else inbox):
        return
    _draw_inbox(inbox, datetime.now(UTC))


@click.command("nodes")
@asks
def nodes_command(asking: Asking) -> None:
    """List the coordinators that share the store, and who of them lives."""
    answer = asking.coordinator.get(f"{OPERATE}/nodes")
    if not asking.told(answer["nodes"]):
        _draw_nodes(answer)


@click.command("audit")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most."
)
@asks
def audit_command(asking: Asking, limit: int) -> None:
    """List who did what, and why, the newest first."""
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        size = str(min(_PAGE, limit - len(found)))
        page = asking.coordinator.get(f"{OPERATE}/audit", after=after, limit=size)
        found += page["records"]
        after = page["after"]
        if not after or len(found) >= limit:
            break
    if asking.told(found):
        return
    columns = ("who", "what", "target", "was", "became", "outcome", "reason")
    rows = []
    for it in found:
        told = {"what": it["action"], **it}  # an older coordinator has no words for it
        at = clock(datetime.fromisoformat(it["at"]))
        rows.append((at, *(safe(told.get(name) or "")[:60] for name in columns)))
    table(("at", *columns), rows)


@click.command("top")
@click.option(
    "--every",
    type=click.FloatRange(0.5, 3600),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--once", is_flag=True, help="Look once; so it does in a pipe.")
@asks
def top_command(asking: Asking, every: float, once: bool) -> None:
    """Show work, what is stuck and who lives, again and again, until Ctrl-C."""
    while True:
        coordinator = asking.coordinator
        inbox, nodes = coordinator.get(f"{OPERATE}/inbox"), coordinator.get(f"{OPERATE}/nodes")
        work = gauges(coordinator.text("/api/metrics"))
        if not asking.told({"inbox": inbox, "nodes": nodes["nodes"], "work": work}):
            clear()
            say(f"as of {clock(datetime.fromisoformat(nodes['now']))}   {coordinator.profile.url}")
            say("   ".join(f"{name} {value:,.0f}" for name, value in work.items()))
            say()
            _draw_inbox(inbox, datetime.now(UTC))
            say()
            _draw_nodes(nodes)
        if once or asking.as_json or not sys.stdout.isatty():
            return
        try:
            time.sleep(every)
        except KeyboardInterrupt:
            return


def _draw_inbox(inbox: dict[str, Any], now: datetime) -> None:
    total = inbox["total"]
    if not total:
        say("Nothing is stuck.", GREEN)
        return
    say(f"{total} transaction{'s are' if total != 1 else ' is'} stuck", RED)
    for group in inbox["groups"]:
        example = group["example"]
        since = datetime.fromisoformat(group["since"])
        say()
        say(f"  {group['count']:>6}  {safe(group['endpoint'])}  {safe(group['op'])}  {safe(example['code'])}")
        say(f"          {safe(example['error'])[:160]}")
        say(f"          since {clock(since)} ({age(since, now)}): dtm show {safe(example['gid'])}")


def _draw_nodes(answer: dict[str, Any]) -> None:
    now = datetime.fromisoformat(answer["now"])
    rows: Sequence[Sequence[str]] = [
        (
            safe(it["name"]),
            "lives"
            if it["is_alive"]
            else f"not seen for {age(datetime.fromisoformat(it['last_seen']), now)}",
            age(datetime.fromisoformat(it["started"]), now),
            safe(it["version"]),
            safe(it["address"]),
        )
        for it in answer["nodes"]
    ]
    table(("coordinator", "state", "up for", "version", "address"), rows)
