"""What README.md and docs/ tell a person to type works. How it is run: `tests/support/reader.py`."""

import ast
import re
from pathlib import Path

import pytest

from coordinator.api.openapi import openapi_document
from tests.support import programs
from tests.support.documents import ROOT, documents, fenced_blocks
from tests.support.reader import Reader


@pytest.mark.timeout(180)
@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_of_the_document_works(document: Path, tmp_path: Path):
    assert document.is_file(), f"{document.name} is missing"
    try:
        programs.require(programs.CURL)
    except programs.MissingProgram as error:
        pytest.skip(str(error))
    reader = Reader(document, tmp_path)
    try:
        reader.follow()
    finally:
        reader.close()


def definitions(source: str) -> set[str]:
    """Return the functions and classes of a program, whatever their layout."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {ast.unparse(node) for node in ast.parse(source).body if isinstance(node, kinds)}


def test_the_programs_shown_in_the_readme_are_those_in_examples():
    examples = set().union(
        *(definitions(path.read_text(encoding="utf-8")) for path in (ROOT / "examples").glob("*.py"))
    )
    shown = [
        block
        for block in fenced_blocks((ROOT / "README.md").read_text(encoding="utf-8"))
        if block.language == "python"
    ]
    assert shown
    for block in shown:
        assert definitions(block.text) <= examples, f"README.md:{block.line} differs from examples/"


def test_the_readme_names_the_commands_that_set_everything_up():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text


def test_the_api_document_shows_every_call_of_http():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for path in openapi_document("1")["paths"]:
        name = re.sub(r"/\{\w+\}$", "", path).rpartition("/")[
            2
        ]  # a topic or gid that ends it is the caller's
        assert re.search(rf"\b{re.escape(name)}\b", text), f"docs/api.md does not show {path}"


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_the_document_points_to_is_there(document: Path):
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", text):
        file, _, heading = target.partition("#")
        pointed_to = document.parent / file if file else document
        assert pointed_to.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", pointed_to.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", it).lower().replace(" ", "-") for it in headings}, (
                target
            )
    for path in re.findall(r"`((?:coordinator|branches|examples|tests|sql|conf|docs|bench)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
