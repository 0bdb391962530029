"""What the console costs: every page in a store of many rows, and pages that are open and watch.

    .venv/bin/python -m bench.console                     # 1,000,000 finished and 1,000 stuck; 100 open pages
    .venv/bin/python -m bench.console --finished 100000 --seconds 20 --write

On a throw-away MariaDB, asked by somebody who is logged in. An open page is its stream, as a browser keeps
it, and the page once more whenever the stream says that something has moved.
"""

import argparse
import asyncio
import json
import statistics
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from bench.machine import described, machine_busy
from bench.operate import plant
from bench.sample import BenchError
from bench.scene import Scene, scene
from bench.tables import markdown
from bench.watched import Cost, busy, cost_of, subjects
from coordinator.backoff import Timing
from coordinator.console.page import path_to
from coordinator.dev.past import ANN
from coordinator.dev.staff import PASSWORD, let_in
from coordinator.store.search import WINDOW
from coordinator.testing.inside import TravellingClock, open_inside
from tests.support.console_pages import found_at
from tests.support.store_config import config_of
from tests.support.under_test import ROOT

_DOCUMENT: Final = ROOT / "docs" / "performance" / "console.md"
_SETTINGS: Final = {"TimeZoneOffset": "+0", "Access": {"Mode": "operators"}}
_SECONDS_MAX: Final = 60
_LOOK_SECONDS: Final = 2.0  # how long the machine is looked at before the start
_THROUGH_ALL: Final = "-status:succeed age:>5m"  # what has failed may be in it, to which no key leads
_OF_STUCK: Final = ("-status:succeed -status:failed age:>5m", "endpoint:ledger", 'error:"refused"')
_FILTERS: Final = (*_OF_STUCK, _THROUGH_ALL, "type:tcc status:succeed")


async def let_people_in(it: Scene) -> str:
    """People and a topic, beside the coordinator that runs; returns the token of an operator."""
    async with AsyncExitStack() as opened:
        clock, config = TravellingClock(datetime.now(UTC)), config_of(it.database)
        inside = await open_inside(opened, clock, Timing(), store_config=config, instance="bench")
        await inside.operations.topics.subscribe("order-paid", "http://shop/invoice", "", by=ANN)
        return await let_in(inside.store, inside.recorder, clock)


def logged_in(url: str) -> str:
    """The header `Cookie` of an admin. Raises URLError."""
    form = urllib.parse.urlencode({"name": "ann", "password": PASSWORD}).encode()
    jar = urllib.request.HTTPCookieProcessor()
    with urllib.request.build_opener(jar).open(f"{url}/login", form, timeout=_SECONDS_MAX):
        return "; ".join(f"{it.name}={it.value}" for it in jar.cookiejar)


def make_job(url: str, token: str) -> None:
    """A bulk job over some of what is stuck, so that there is a page of one. Raises URLError."""
    wanted = {"filter": "gid:stuck-1 gid:stuck-2", "reason": "so that there is one"}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    asked = urllib.request.Request(f"{url}/api/operate/bulk/retry", json.dumps(wanted).encode(), headers)
    with urllib.request.urlopen(asked, timeout=_SECONDS_MAX):
        pass


@dataclass(frozen=True, slots=True)
class Answers:
    """Milliseconds of each, and of processor time that one of them took, of coordinator and database."""

    took: list[float]
    of_coordinator: float
    of_database: float


def looked_at(it: Scene, cookie: str, repeats: int) -> Mapping[str, Answers]:
    """By the page's path as it is registered, or with what was asked of it."""
    url = it.coordinator.http_url
    paths = {template: kinds[-1] for template, kinds in found_at(url, cookie).items()}
    for wanted in _FILTERS:
        paths[f"/transactions, {wanted}"] = path_to("transactions", filter=wanted)
    for wanted in (*_OF_STUCK, _THROUGH_ALL):  # a job about more than may be in one is refused
        paths[f"/bulk/new, {wanted}"] = path_to("bulk", "new", action="retry", filter=wanted)
    found: dict[str, Answers] = {}
    for name, path in paths.items():
        took, coordinator, database = list[float](), it.held().cpu, it.database_cpu()
        for _ in range(repeats):
            request = urllib.request.Request(url + path, headers={"Cookie": cookie})
            began = time.perf_counter()
            try:
                with urllib.request.urlopen(request, timeout=_SECONDS_MAX) as answer:
                    answer.read()
            except urllib.error.HTTPError as error:
                raise BenchError(f"{path}: {error.code}\n{error.read().decode()}") from error
            took.append((time.perf_counter() - began) * 1000)
        spent = (it.held().cpu - coordinator, it.database_cpu() - database)
        found[name] = Answers(took, *(1000 * seconds / repeats for seconds in spent))
    return found


def document(pages: Mapping[str, Answers], costs: Mapping[str, Cost], given: argparse.Namespace) -> str:
    """The page that the figures are kept on."""
    machine = [["machine", ""], *([name, value] for name, value in described().items())]
    times = [["page", "median ms", "slowest ms", "coordinator ms", "database ms"]]
    for name, it in sorted(pages.items(), key=lambda it: -statistics.median(it[1].took)):
        figures = (statistics.median(it.took), max(it.took), it.of_coordinator, it.of_database)
        times.append([f"`{name}`", *(f"{figure:.1f}" for figure in figures)])
    shares = [["meanwhile", "without pages", "with them", "the pages", "streams begun", "pages fetched anew"]]
    for name, cost in costs.items():
        cores = [f"{share:.2%}" for share in (cost.without, cost.with_pages, cost.of_pages)]
        shares.append([name, *cores, f"{cost.told.streams:,}", f"{cost.told.fetched:,}"])
    today = date.today().isoformat()  # noqa: DTZ011 - the date on the wall
    return f"""\
# What the console costs

Written by `.venv/bin/python -m bench.console --write` on {today}, on MariaDB, by somebody
who is logged in.{f" {given.remark}" if given.remark else ""}

{markdown(machine, words=2)}

## Every page

One request at a time, {given.repeats} of each, from a store of {given.finished:,} transactions that have
ended and {given.stuck:,} that are stuck. The slowest is mostly the first, for which nothing is in the caches.
*coordinator*, *database*: the processor time of one answer, which depends less on what else runs.
All ask the database at most five times, but for a bulk job about `{_THROUGH_ALL}`: to what has failed no
key leads, so that it looks through all that is stored, {WINDOW:,} ids at a time.

{markdown(times, words=1)}

## Pages that are open

{given.pages} of them, every second one the inbox, the others each about a transaction: the coordinator's
processor time in {given.seconds:.0f} s, as shares of one core. What is less than nothing tells
how much is noise.

{markdown(shares, words=1)}
"""


def main() -> None:
    """Plant, ask, watch, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.console", description=__doc__)
    parser.add_argument("--finished", type=int, default=1_000_000, help="transactions (1000000)")
    parser.add_argument("--stuck", type=int, default=1_000, help="transactions (1000)")
    parser.add_argument("--repeats", type=int, default=20, help="of each page (20)")
    parser.add_argument("--pages", type=int, default=100, help="that are open (100)")
    parser.add_argument("--seconds", type=float, default=60.0, help="that they are watched for (60)")
    parser.add_argument("--remark", default="", help="said beside the figures, as what else ran meanwhile")
    parser.add_argument("--write", action="store_true", help=f"write {_DOCUMENT.relative_to(ROOT)}")
    given = parser.parse_args()
    print(f"others use {machine_busy(_LOOK_SECONDS):.0%} of this machine", flush=True)
    with scene(_SETTINGS) as it:
        print(f"planting {given.finished:,} and {given.stuck:,} transactions …", flush=True)
        plant(it.database, finished=given.finished, stuck=given.stuck)
        url = it.coordinator.http_url
        make_job(url, asyncio.run(let_people_in(it)))
        cookie = logged_in(url)
        pages = looked_at(it, cookie, given.repeats)
        watching = subjects([f"stuck-{number + 1}" for number in range(given.stuck)], given.pages)
        costs = {"nothing": asyncio.run(cost_of(it, cookie, watching, given.seconds))}
        with busy(it, 10 * given.seconds) as meanwhile:
            costs[meanwhile] = asyncio.run(cost_of(it, cookie, watching, given.seconds))
    text = document(pages, costs, given)
    print(text)
    if given.write:
        _DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
