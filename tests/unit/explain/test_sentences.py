"""Every sentence about a transaction is there in each language, says the same, and is used."""

import re
import string
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import coordinator.explain
from coordinator.console.words import LANGUAGES
from coordinator.explain.codes import CODES
from coordinator.explain.play import Rows
from coordinator.explain.sentences import Sentence, sentence, sentences
from coordinator.explain.why import Facts, why
from tests.unit.explain.rows import NOW, TIMING
from tests.unit.explain.test_why import REASONS

ROOM = Path(coordinator.explain.__file__).parent
COMMANDS = re.compile(r"dtm [a-z]+|GID|--[a-z-]+|[A-Z][A-Za-z]+\.[A-Z][A-Za-z]+|docs/\S+?\.md")


def names(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", sorted(sentences()))
def test_each_is_there_in_every_language_with_the_same_values_and_commands(key: str) -> None:
    forms = sentences()[key]
    assert set(forms) == set(LANGUAGES)
    assert all(forms.values())
    for text in forms.values():
        assert names(text) == names(forms["en"])
        assert sorted(COMMANDS.findall(text)) == sorted(COMMANDS.findall(forms["en"]))


def test_none_is_of_no_use_and_every_code_says_what_to_do() -> None:
    others = ("service/bulk_plan.py", "service/recorded.py")
    files = [*ROOM.glob("*.py"), *(ROOM.parent / path for path in others)]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    used = {key for key in sentences() if f'"{key}"' in text}
    causes = {f"cause_{code}" for code in CODES}
    advice = {f"do_{code}" for code in CODES}
    assert set(sentences()) - used - causes == advice


@pytest.mark.parametrize(("stored", "facts", "code", "says"), REASONS)
def test_a_reason_is_told_in_chinese_with_what_stands_in_it(
    stored: Rows, facts: dict[str, Any], code: str, says: str
) -> None:
    answer = why(TIMING, stored, Facts(NOW, **facts))
    told = answer.said.told("zh")
    assert re.search("[一-鿿]", told)
    assert told.endswith("。")
    assert "{" not in told
    for exact in re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC|http://[\w.:]+\w|\d{3}", answer.sentence):
        assert exact in told
    assert "GID" not in answer.advice("zh")


def test_a_sentence_in_a_sentence_is_told_in_the_same_language_and_only_texts_are_changed() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    whole = sentence("rolled_back", at=at, because=sentence("because", reason="{no} secret"))
    assert whole.told() == "It was rolled back, at 2026-01-02 03:04:05 UTC: {no} secret."
    assert whole.told("zh") == "已于 2026-01-02 03:04:05 UTC 回滚：{no} secret。"
    assert whole.told("fr") == whole.told()
    assert whole.with_texts(lambda text: text.replace("secret", "…")).told().endswith(": {no} ….")
    with pytest.raises(KeyError):
        Sentence("no such sentence").told()
