"""docs/compatibility.md says what a run says."""

import re
from collections.abc import Mapping

import pytest

from tests.interop.compatibility import DOCUMENT, document
from tests.interop.conftest import GoZero, Run, writing
from tests.interop.lines import Line, Program

pytestmark = pytest.mark.timeout(600)  # alone, it runs every program


def test_the_document_has_every_client_pattern_and_protocol(
    run: Run, client_programs: Mapping[str, Program], go_zero: GoZero, curl_lines: list[Line]
) -> None:
    lines = [line for program in client_programs.values() for line in run(program)]
    written = DOCUMENT.read_text(encoding="utf-8")
    made = document(written, [*lines, *go_zero(), *curl_lines])
    if writing():
        DOCUMENT.write_text(made, encoding="utf-8")
        written = made
    # It says "passed" of what passed on the day it was written; what fails today fails in its own test.
    assert _without_results(written) == _without_results(made), "make compatibility writes it anew"
    assert "failed" not in written.replace("status: failed", ""), (
        "a document with failures is not for keeping"
    )


def _without_results(text: str) -> list[str]:
    return re.sub(r"\| (failed|not run) ", "| passed ", text).splitlines()
