"""`dtm topics`: who gets the messages of a topic."""

import json
from typing import Any
from urllib.parse import quote

import click

from coordinator.cli.asking import API, Asking, asks
from coordinator.cli.terminal import progress, progress_over, safe, table

_PAGE = 1000


@click.group("topics")
def topics_command() -> None:
    """List topics; subscribe, unsubscribe, delete."""


@topics_command.command("ls")
@asks
def list_topics(asking: Asking) -> None:
    """List every topic with its subscribers."""
    found: list[dict[str, Any]] = []
    position = ""
    while True:
        page = asking.coordinator.get(f"{API}/scanKV", cat="topics", limit=str(_PAGE), position=position)
        found += [{"topic": it["k"], "subscribers": _subscribers(it["v"])} for it in page["kv"]]
        position = page["next_position"]
        if not position:
            break
        progress(f"{len(found)} …")
    progress_over()
    if not asking.told(found):
        rows = [
            (safe(it["topic"]), safe(one.get("url", "")), safe(one.get("remark", "")))
            for it in found
            for one in it["subscribers"] or [{}]
        ]
        table(("topic", "subscriber", "remark"), rows)


@topics_command.command("subscribe")
@click.argument("topic")
@click.argument("subscriber", metavar="URL")
@click.option("--remark", default="", metavar="TEXT", help="For people.")
@asks
def subscribe(asking: Asking, topic: str, subscriber: str, remark: str) -> None:
    """Have the messages of TOPIC sent to URL as well."""
    asking.told(asking.coordinator.get(f"{API}/subscribe", topic=topic, url=subscriber, remark=remark))


@topics_command.command("unsubscribe")
@click.argument("topic")
@click.argument("subscriber", metavar="URL")
@asks
def unsubscribe(asking: Asking, topic: str, subscriber: str) -> None:
    """Have them sent there no more."""
    asking.told(asking.coordinator.get(f"{API}/unsubscribe", topic=topic, url=subscriber))


@topics_command.command("delete")
@click.argument("topic")
@click.option("--yes", is_flag=True, help="Do not ask, do it.")
@asks
def delete(asking: Asking, topic: str, yes: bool) -> None:
    """Delete TOPIC and all its subscriptions."""
    if not yes:
        click.confirm(f"Delete the topic {safe(topic)}?", abort=True)
    asking.told(asking.coordinator.delete(f"{API}/topic/{quote(topic, safe='')}"))


def _subscribers(value: str) -> list[dict[str, Any]]:
    try:
        read = json.loads(value)
    except ValueError:
        return []
    return [it for it in read if isinstance(it, dict)] if isinstance(read, list) else []
