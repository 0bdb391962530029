"""The document that a run writes, and the findings it is written from."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from bench.findings import Findings, Limit, from_json, joined, save
from bench.matrix import Cell, Matrix
from bench.report import documents, write
from bench.sample import Sample

MATRIX = Matrix(("saga", "tcc"), ("http",), ("mariadb", "sqlite"), (1, 16), rounds=2, seconds=8)


def sample(rate: float) -> Sample:
    return Sample(100, rate, 1.0, 3.0, 0, 400.0, 200.0, {"Questions": 3000.0})


def findings() -> Findings:
    found = Findings(
        date="2026-11-28",
        busy=0.02,
        machine={"processor": "2 cores"},
        servers={"dtm": "this checkout", "go": "Go dtm server"},
        matrix=MATRIX,
        limits=[Limit("commits", {1: 800.0, 16: 9000.0}), Limit("branch calls", {1: 30000.0})],
    )
    for cell in MATRIX.cells("mariadb"):
        found.samples[cell] = {"dtm": [sample(1000), sample(1200)], "go": [sample(500), sample(600)]}
    failed = Cell("mariadb", "http", "tcc", 16)
    found.samples[failed]["go"].pop()
    found.failures[failed] = {"go": "go: 3 errors\nand what it printed"}
    return found


def test_findings_are_kept_whole(tmp_path):
    kept = tmp_path / "findings.json"
    save(findings(), kept)
    assert from_json(kept.read_text(encoding="utf-8")) == findings()
    assert [it.name for it in tmp_path.iterdir()] == ["findings.json"]


def test_runs_of_one_matrix_each_are_joined() -> None:
    whole = findings()
    [first, *others] = [
        replace(
            whole, samples={cell: it}, failures={cell: whole.failures[cell]} if cell in whole.failures else {}
        )
        for cell, it in whole.samples.items()
    ]
    first = replace(first, matrix=replace(MATRIX, patterns=("saga",)))
    assert joined([first, *others]) == whole
    with pytest.raises(ValueError, match="rounds and seconds are the same"):
        joined([first, replace(whole, matrix=replace(MATRIX, seconds=9))])


def test_the_document_shows_every_measurement_and_the_limits():
    text = documents(findings())["performance.md"]
    assert "| saga | 16 | dtm | 1,100 |" in text
    assert "| saga | 16 | go | 550 |" in text
    assert "| commits | 800 | 9,000 |" in text
    assert "| branch calls | 30,000 | – |" in text


def test_the_document_says_what_is_remarked():
    remark = "The Python is Debian's."
    assert f"\n\n{remark}\n\n" in documents(findings(), remark)["performance.md"]
    assert "\n\n\n" not in documents(findings())["performance.md"]


def test_the_document_names_what_failed_in_one_line():
    text = documents(findings())["performance.md"]
    assert "| tcc | 16 | go | failed |" in text
    assert "- tcc, HTTP, MariaDB, 16 at a time, go: go: 3 errors\n" in text
    assert "and what it printed" not in text


def test_what_was_not_reached_has_no_chapter():
    text = documents(findings())["performance.md"]
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["MariaDB, HTTP"]


def test_every_chart_that_the_document_shows_is_written(tmp_path):
    written = write(findings(), tmp_path)
    text = (tmp_path / "performance.md").read_text(encoding="utf-8")
    shown = {tmp_path / path for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)}
    assert shown == set(written) - {tmp_path / "performance.md"}
    assert len(shown) == 2
    for path in shown:
        ElementTree.parse(path)
