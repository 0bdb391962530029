"""docs/protocol.md says what the code keeps to: its sections, names and numbers."""

import json
import re

import aiohttp
import pytest

from coordinator.api.openapi import openapi_document
from coordinator.client import Failure, Ongoing
from coordinator.model import BranchStatus, Op, Status, TransType
from coordinator.testing import Kit
from tests.support.documents import ROOT, fenced_blocks

DOCUMENT = ROOT / "docs" / "protocol.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
SECTIONS = {int(number) for number in re.findall(r"^## (\d+)\. ", TEXT, re.MULTILINE)}
BELOW = "/api/dtmsvr/"


def section(number: int) -> str:
    return re.split(r"^## \d+\. .*$", TEXT, flags=re.MULTILINE)[number]


def test_every_section_that_the_code_points_to_is_there() -> None:
    code = [*(ROOT / "coordinator").rglob("*.py"), *(ROOT / "coordinator").rglob("*.proto")]
    named = {
        int(number) for file in code for number in re.findall(r"§(\d+)", file.read_text(encoding="utf-8"))
    }
    assert named <= SECTIONS
    assert set(range(1, max(SECTIONS) + 1)) == SECTIONS


@pytest.mark.parametrize(
    "document", ["README.md", *(f"docs/{one.name}" for one in (ROOT / "docs").glob("*.md"))]
)
def test_documents_name_no_section_that_is_not_there(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert {int(number) for number in re.findall(r"§(\d+)", text)} <= SECTIONS


@pytest.mark.parametrize("kind", [TransType, Op, Status, BranchStatus], ids=lambda kind: kind.__name__)
def test_every_word_of_the_protocol_is_explained(kind: type[TransType]) -> None:
    assert [word for word in kind if f"`{word}`" not in section(1)] == []


def test_the_three_results_are_those_that_are_answered() -> None:
    for error, code, name in ((Failure, -32901, "ABORTED"), (Ongoing, -32902, "FAILED_PRECONDITION")):
        row = f"| {error.__name__.upper()} | {error.http_status} | {name} | code {code} |"
        assert row in section(2)


def test_every_call_for_clients_is_named() -> None:
    paths = [path for path in openapi_document("1")["paths"] if path.startswith(BELOW)]
    assert paths
    for path in paths:
        name = path.removeprefix(BELOW).removesuffix("/{topic}")
        assert re.search(rf"\b{name}\b", section(3)), name


async def test_the_object_that_is_shown_is_taken() -> None:
    (shown,) = (one.text for one in fenced_blocks(section(3)) if one.language == "json")
    async with (
        Kit() as kit,
        aiohttp.ClientSession() as session,
        session.post(f"{kit.http_url}{BELOW}prepare", json=json.loads(shown)) as answer,
    ):
        assert (answer.status, await answer.json()) == (200, {"dtm_result": "SUCCESS"})
