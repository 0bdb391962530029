"""Tables: in a pipe line by line as scripts read them, in a terminal as wide as it is."""

import io
import sys

import pytest

from coordinator.cli.terminal import table

HEADS = ("gid", "status", "held up by")
LONG = "http://ledger:8080 answers 503 [bold]no connection[/bold] is free: 64 of 64 are in use :warning:"
ROWS = [("转账-7f3a91", "aborting", LONG), ("order-1", "submitted", "it waits")]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(monkeypatch: pytest.MonkeyPatch, *, wide: int, has_rich: bool = True, **environment: str) -> str:
    """What stands in a terminal of so many columns."""
    screen = Screen()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", screen)
        for name, value in {"TERM": "xterm", "COLUMNS": str(wide), "NO_COLOR": "1", **environment}.items():
            patched.setenv(name, value)
        if not has_rich:
            patched.setitem(sys.modules, "rich.table", None)
        table(HEADS, ROWS)
    return screen.getvalue()


def test_a_table_fits_the_terminal_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = written(monkeypatch, wide=60)
    assert max(len(line) for line in fitted.splitlines()) <= 60
    every = " ".join(fitted.split())
    assert all(word in every for row in ROWS for cell in row for word in cell.split())


@pytest.mark.parametrize("given", [{}, {"TERM": "dumb"}])
def test_it_has_the_same_words_without_rich(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    fitted, plain = (
        written(monkeypatch, wide=200, has_rich=True),
        written(monkeypatch, wide=200, has_rich=not given, **given),
    )
    assert [line.split() for line in fitted.splitlines()] == [line.split() for line in plain.splitlines()]


def test_in_a_pipe_a_row_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table(HEADS, ROWS)
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == " ".join(HEADS).split()
    assert first.endswith(LONG)
    assert second.split()[0] == "order-1"
