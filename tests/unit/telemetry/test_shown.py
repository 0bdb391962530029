"""What others wrote, in every way a log line is formed: it moves no cursor and makes no line of its own."""

import json
import logging
import sys
import unicodedata
from collections.abc import Callable, Iterator

import pytest
from loguru import logger

from coordinator.telemetry.log import log, stacks
from coordinator.telemetry.log_output import _lost_as_json, _lost_as_text, configure_logging
from coordinator.telemetry.shown import shown, shown_json
from tests.support.logs import logging_as_before

HOSTILE = {
    "newline": "\n",
    "carriage return": "\r",
    "escape": "\x1b[2J\x1b]0;owned\x07",
    "backspace": "\b",
    "vertical tab": "\v",
    "form feed": "\f",
    "NUL": "\x00",
    "delete": "\x7f",
    "C1 next line": "\x85",
    "C1 control sequence": "\x9b31m",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "override": "\u202e",
    "isolate": "\u2066",
    "mark": "\u200f",
    "Arabic mark": "\u061c",
    "zero width": "\u200b",
    "byte order mark": "\ufeff",
    "soft hyphen": "\u00ad",
    "tag": "\U000e0041",
    "half a character": "\ud800",
}
FAKE = "12:00:00.000 info  all is well"


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    with logging_as_before():
        stacks._written.clear()
        yield


def raised(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError as error:
        log.error("it failed", exception=error)


WAYS: dict[str, Callable[[str], None]] = {
    "sentence": lambda text: log.warning(f"it said {text}"),
    "value of a sentence": lambda text: log.info("it said {}", text),
    "field": lambda text: log.info("it said something", answer=text),
    "field that is no text": lambda text: log.info("it said something", answer=[text, {"a": text}]),
    "name of a field": lambda text: log.info("it said something", **{f"a{text}": 1}),
    "field of a call": lambda text: log.with_fields(gid=text).alert("it said something"),
    "stack": lambda text: log.stack("it said {}", text),
    "error": raised,
    "library": lambda text: logging.getLogger("library").warning("it said %s", text),
    "loguru itself": lambda text: logger.bind(gid=text).warning("it said " + text),
}


def of_terminal(stream: object) -> bool:
    return True


@pytest.mark.parametrize("character", HOSTILE)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("readable", [True, False])
def test_what_others_wrote_is_shown_and_not_obeyed(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    readable: bool,
    way: str,
    character: str,
) -> None:
    if readable:
        monkeypatch.setattr(type(sys.stderr), "isatty", of_terminal)
    configure_logging("info", ["stderr"])
    monkeypatch.undo()
    WAYS[way](f"before{HOSTILE[character]}{FAKE}")
    logger.remove()
    written = capsys.readouterr().err
    lines = written.removesuffix("\n").split("\n")
    assert "before" in written
    assert not [line for line in lines if line.startswith(FAKE)]
    for sign in HOSTILE[character]:
        if not sign.isprintable() and sign not in "\n\x1b":  # which are colours and ends of lines
            assert sign not in written
    assert "\x1b[2J" not in written
    if not readable:
        [line] = lines
        assert "before" in json.dumps(json.loads(line))
    elif way not in {"stack", "error"}:
        assert len(lines) == 1


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_reason_for_lost_lines_is_one_line(text: str) -> None:
    for line in (_lost_as_text(3, f"a{text}b"), _lost_as_json(3, f"a{text}b")):
        assert line.endswith("\n")
        assert line[:-1].isprintable()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_json_stays_the_same_value(text: str) -> None:
    line = json.dumps({"a": text}, ensure_ascii=False)
    assert json.loads(shown_json(line)) == {"a": text}


def test_other_peoples_writing_stays_readable() -> None:
    for text in ("Grüße, 事務, Ёлка, שלום, 🎉, ❤️", "a b\u00a0c"):
        assert shown(text) == text
        assert shown_json(text) == text


def test_every_control_character_and_sign_of_direction_is_escaped() -> None:
    for number in range(sys.maxunicode + 1):
        sign = chr(number)
        if unicodedata.category(sign) in {"Cc", "Zl", "Zp", "Cs"} or unicodedata.bidirectional(sign) in {
            *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        }:
            assert shown(sign).isprintable(), hex(number)
            assert shown_json(sign).isprintable(), hex(number)
