"""`dtm dev`: everything that it says is there, services that can be mended, and nothing left behind."""

import json
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.dev.examples import EXAMPLES, ORDERS
from coordinator.dev.present import BEGUN
from tests.support.dev_process import DevProcess
from tests.support.looking import until

SECONDS = 120.0
CODES = {it.gid: it.code for it in (*EXAMPLES, *BEGUN)}


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevProcess]:
    process = DevProcess(tmp_path_factory.mktemp("dev")).start()
    yield process
    print(process.output())
    process.close()


def asked(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def posted(url: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=30):
        pass


def code(dev: DevProcess, gid: str) -> str:
    return str(asked(f"{dev.url}/api/operate/transactions/{gid}")["why"]["code"])


@pytest.mark.parametrize("gid", CODES)
def test_each_example_is_stuck_as_it_says(dev: DevProcess, gid: str) -> None:
    until(lambda: code(dev, gid) == CODES[gid], SECONDS)
    assert f"  {gid}" in dev.output()


def test_the_inbox_has_a_group_larger_than_can_be_looked_at_one_by_one(dev: DevProcess) -> None:
    groups = asked(f"{dev.url}/api/operate/inbox")["groups"]
    assert max(group["count"] for group in groups) >= ORDERS


def test_what_is_not_stuck_is_there_too_and_who_did_what(dev: DevProcess) -> None:
    assert code(dev, "done-01") == "W40"
    assert code(dev, "rolled-back-1") == "W41"
    assert code(dev, "stopped-by-ann") == "W42"
    assert {it["who"] for it in asked(f"{dev.url}/api/operate/audit")["records"]} >= {"ann", "ben"}
    assert [it["k"] for it in asked(f"{dev.url}/api/dtmsvr/scanKV?cat=topics")["kv"]] == [
        "order-paid",
        "user-registered",
    ]


def test_a_service_can_be_mended(dev: DevProcess) -> None:
    posted(f"{dev.mend_url}courier", b"")
    posted(f"{dev.url}/api/dtmsvr/resetNextCronTime", b'{"gid":"parcel-202"}')
    until(lambda: code(dev, "parcel-202") == "W40", SECONDS)


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with DevProcess(tmp_path) as process:
        pid = process.pid
    left = [it for home in (tempfile.gettempdir(), "/dev/shm") for it in Path(home).glob(f"dtm-dev-{pid}-*")]
    assert left == [] and list(tmp_path.iterdir()) == []
