"""docs/operating.md, the run-book: each situation is planted, found by its code, and its commands are run."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coordinator.explain.codes import CODES
from tests.support.documents import ROOT
from tests.support.looking import until
from tests.support.planted import SECONDS, World, planted_world
from tests.support.ports import HOST, free_port

TEXT = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
BOOK = TEXT[TEXT.index("## Run-book") : TEXT.index("### All codes")]
SITUATIONS = dict(re.findall(r"^### (W\d\d): .*\n((?:(?!^### ).*\n)*)", BOOK, re.MULTILINE))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with planted_world(tmp_path) as it:
        yield it


def leased_elsewhere(world: World) -> None:
    world.submit("g", (f"http://{HOST}:{free_port()}/do", ""))
    until(lambda: world.code("g") == "W11", SECONDS)
    world.write(
        "UPDATE trans_global SET owner = 'gone/1/1', next_cron_time = '2099-01-01 00:00:00' WHERE gid = 'g'"
    )


def prepared(world: World) -> None:
    status, _ = world.coordinator.post("prepare", {"gid": "g", "trans_type": "tcc", "timeout_to_fail": 600})
    assert status == 200
    branch = {"gid": "g", "trans_type": "tcc", "branch_id": "01", "data": "{}"}
    urls = {"confirm": f"{world.service.url}/200", "cancel": f"{world.service.url}/200"}
    assert world.coordinator.post("registerBranch", {**branch, **urls})[0] == 200


def says(what: str) -> Callable[[World], None]:
    return lambda world: world.submit("g", (f"{world.service.url}/{what}", f"{world.service.url}/200"))


def held(world: World) -> None:
    assert world.dtm("hold", world.service.url, "--for", "1h", "--reason", "it is moved").exit_code == 0
    world.submit("g", (f"{world.service.url}/200/do", ""))


PLANTED: dict[str, Callable[[World], None]] = {
    "W02": leased_elsewhere,
    "W03": lambda world: world.submit("g", ("", ""), trans_type="msg", custom_data='{"delay":3600}'),
    "W04": prepared,
    "W06": held,
    "W11": lambda world: world.submit("g", (f"http://{HOST}:{free_port()}/do", "")),
    "W12": lambda world: world.submit(  # a compensation that hangs
        "g", ("", f"{world.service.url}/hang"), (f"{world.service.url}/409/do", "")
    ),
    "W14": says("404/withdraw"),
    "W15": says("503/withdraw"),
    "W17": says("422/withdraw"),
    "W21": says("425/withdraw"),
    "W22": lambda world: world.submit(
        "g", ("", f"{world.service.url}/409/undo"), (f"{world.service.url}/409/do", "")
    ),
}
ENDS = {
    **dict.fromkeys(("W03", "W04", "W14", "W21", "W22"), "failed"),
    **dict.fromkeys(("W06", "W17"), "succeed"),
}


def commands(situation: str) -> list[list[str]]:
    """What a section has a person type, word by word."""
    return [
        [quoted or word for quoted, word in re.findall(r"'([^']*)'|(\S+)", command)]
        for command in re.findall(r"`dtm ([^`]+)`", SITUATIONS[situation])
    ]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("code", SITUATIONS)
def test_the_situation_is_found_by_its_code_and_its_commands_work(world: World, code: str) -> None:
    PLANTED[code](world)
    until(lambda: world.code("g") == code, SECONDS)
    typed = commands(code)
    assert typed
    for words in typed:
        named = {"GID": "g", "ENDPOINT": world.service.url}
        done = world.dtm(*(named.get(word, word) for word in words))
        assert done.exit_code == 0, (words, done.output)
    if code in ENDS:
        until(lambda: world.coordinator.query("g")["transaction"]["status"] == ENDS[code], SECONDS)


def test_there_are_eleven_and_each_can_be_planted() -> None:
    assert len(SITUATIONS) == 11
    assert set(SITUATIONS) == set(PLANTED)


def test_the_table_has_every_code_with_its_title() -> None:
    rows = re.findall(r"^\| (W\d\d) \| (.*) \|$", TEXT, re.MULTILINE)
    assert rows == [(code.id, code.title) for code in CODES.values()]


def test_the_headings_are_the_titles() -> None:
    for code, title in re.findall(r"^### (W\d\d): (.*)$", BOOK, re.MULTILINE):
        assert CODES[code].title.startswith(title), code
