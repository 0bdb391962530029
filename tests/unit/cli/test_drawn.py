"""A transaction in a terminal: what its steps answered stands beside them."""

from typing import Any

import pytest

from coordinator.cli.drawn import _Steps


def steps(*results: dict[str, Any]) -> _Steps:
    return _Steps({"forecast": {"if_all_succeed": {"calls": []}}, "attempts": [], "results": results})


@pytest.mark.parametrize(
    ("text", "base64", "shown"),
    [
        ('{"id":\n 7}', None, 'done, answered {"id": 7}'),
        (None, "/wE=", "done, answered /wE= (base64)"),
        (None, None, "done, its result is kept"),
        ("x" * 100, None, f"done, answered {'x' * 59}…"),
        ("\x1b[2J", None, "done, answered "),
    ],
)
def test_an_answer_that_is_kept(
    capsys: pytest.CaptureFixture[str], text: str | None, base64: str | None, shown: str
) -> None:
    row = {"branch_id": "01", "op": "action", "status": "succeed", "url": "result+http://h/book"}
    steps({"branch_id": "01", "text": text, "base64": base64}).draw(row)
    steps().draw(row)
    with_it, without = capsys.readouterr().out.splitlines()
    assert f"book                  ● {shown}" in with_it
    assert "\x1b" not in with_it
    assert without.rstrip().endswith("● done")
