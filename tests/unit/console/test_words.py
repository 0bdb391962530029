"""Every sentence is there in every language, and every one is used."""

import re
import string
from pathlib import Path

import pytest
from markupsafe import Markup

import coordinator.console
from coordinator.console.words import LANGUAGES, catalogue, language_of, words_in
from coordinator.explain.codes import CODES
from coordinator.model import Status

ROOM = Path(coordinator.console.__file__).parent
_KEY = re.compile(r"""(?:\bt|words)\(\s*['"]([a-z_]+\.[A-Za-z0-9_]+)['"]\s*[,)]""")
_BEGUN = re.compile(r"""['"]([a-z_]+\.[a-z_]*)['"] ~""")  # t('status.' ~ status)
_FORMATTED = re.compile(r"""f['"]([a-z_]+\.[a-z_]+)\{""")  # f"timeline.kind_{kind}"
_QUOTED = re.compile(r"""['"]([a-z_]+\.[A-Za-z0-9_]+)['"]""")


def sources() -> str:
    files = [path for room in (ROOM, ROOM.parent / "timeline") for path in room.rglob("*")]
    return "\n".join(path.read_text(encoding="utf-8") for path in files if path.suffix in {".html", ".py"})


@pytest.mark.parametrize("key", sorted(catalogue()))
def test_a_sentence_is_there_in_every_language_with_the_same_values(key: str) -> None:
    forms = catalogue()[key]
    assert set(LANGUAGES) <= set(forms)
    assert set(forms) <= {*LANGUAGES, *(f"{language}_one" for language in LANGUAGES)}

    def named(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    wanted = named(forms["en"])
    assert all(named(forms[language]) == wanted for language in LANGUAGES)
    assert all(text.strip() == text and text for text in forms.values())


def test_no_page_asks_for_a_sentence_that_is_missing() -> None:
    asked = set(_KEY.findall(sources()))
    assert asked
    assert asked - set(catalogue()) == set()


def test_no_sentence_is_of_no_use() -> None:
    text = sources()
    used, begun = set(_QUOTED.findall(text)), (*_BEGUN.findall(text), *_FORMATTED.findall(text), "error.of_")
    assert [key for key in catalogue() if key not in used and not key.startswith(begun)] == []


def test_what_the_rules_name_has_a_word() -> None:
    wanted = {f"codes.{code}" for code in CODES} | {f"status.{status.value}" for status in Status}
    assert wanted - set(catalogue()) == set()


def test_what_is_put_in_is_escaped_and_markup_is_not() -> None:
    words = words_in("en")
    assert "&lt;b&gt;" in words("inbox.probe_means", gid="<b>")
    assert "<b>" in words("inbox.probe_means", gid=Markup("<b>"))
    assert words("inbox.heading", count=1) == "1 transaction is stuck"
    assert words("inbox.heading", count=1234) == "1,234 transactions are stuck"


@pytest.mark.parametrize(
    ("chosen", "accepted", "spoken"),
    [
        ("", "", "en"),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("", "en;q=0.1, zh;q=0.5", "zh"),
        ("", "fr, de;q=x", "en"),
        ("en", "zh", "en"),
        ("xx", "zh", "zh"),
    ],
)
def test_the_language_is_the_one_that_was_asked_for(chosen: str, accepted: str, spoken: str) -> None:
    assert language_of(chosen, accepted) == spoken
