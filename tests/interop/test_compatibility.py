"""docs/compatibility.md says what a run says."""

import re

import pytest

from tests.interop.compatibility import DOCUMENT, document
from tests.interop.conftest import NAMES, ClientProgram, GoZero, Run, writing
from tests.interop.lines import Line

pytestmark = pytest.mark.timeout(600)  # alone, it runs every program


def test_the_document_has_every_client_pattern_and_protocol(
    run: Run, client_program: ClientProgram, go_zero: GoZero, curl_lines: list[Line]
) -> None:
    lines = [line for name in NAMES for line in run(client_program(name))]
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
