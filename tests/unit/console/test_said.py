"""What other rooms say in English is told in the language of a page: each of their sentences is there."""

import ast
import re
from collections.abc import Iterator

import pytest

from coordinator.console.said import catalogue, in_language
from coordinator.console.words import FIRST, LANGUAGES
from coordinator.errors import DtmError
from tests.support.documents import ROOT

OTHERS = [language for language in LANGUAGES if language != FIRST]
PLACES = re.compile(r"\{\w+\}")
# Who raises what a page may have to say. What clients send is refused in words for their programs.
PURE = ("patterns", "explain/play.py")  # why no rule explains rows
ROOMS = (
    *("console", "access", "api/operate_calls.py", "api/turns.py", "api/http_request.py", "api/listing.py"),
    *(f"service/{name}.py" for name in ("acting", "bulk", "bulk_plan", "endpoints", "filter_grammar")),
    *(f"service/{name}.py" for name in ("lookup", "operate", "operators", "overview", "topics")),
    *("store/search.py", "store/runner.py", "explain/actions.py"),
    *PURE,
)


def names_of(error: type[DtmError]) -> Iterator[str]:
    yield error.__name__
    for narrower in error.__subclasses__():
        yield from names_of(narrower)


def raised() -> Iterator[tuple[str, str]]:
    """Where it is, and the sentence that an error is made of, with {0}, {1} … for what is put in."""
    for room in ROOMS:
        errors = {ValueError.__name__} if room in PURE else {*names_of(DtmError)}
        path = ROOT / "coordinator" / room
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in errors:
                    for argument in (*node.args, *(it.value for it in node.keywords)):
                        if text := sentence_of(argument):
                            yield f"{file.relative_to(ROOT)}:{node.lineno}", text


def sentence_of(node: ast.expr) -> str:
    """Empty for what is no text in the code."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if not isinstance(node, ast.JoinedStr):
        return ""
    places = iter(range(len(node.values)))
    return "".join(
        str(it.value) if isinstance(it, ast.Constant) else f"{{{next(places)}}}" for it in node.values
    )


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_that_a_page_may_have_to_say_is_there_in_every_language(language: str) -> None:
    found = list(raised())
    assert len(found) > 100
    known = catalogue()[language]
    assert [(where, text) for where, text in found if text not in known] == []


@pytest.mark.parametrize("language", OTHERS)
def test_what_is_put_in_is_put_in_everywhere(language: str) -> None:
    wrong = []
    for english, other in catalogue()[language].items():
        if set(PLACES.findall(english)) < set(PLACES.findall(other)) or not other.strip():
            wrong.append(english)
    assert wrong == []


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("endpoint 'http://a:1' is not held FAILURE", "端点 'http://a:1' 未被暂停"),
        ("reason: is too long: 600 characters, at most 500", "原因：过长：600 个字符，最多 500 个"),
        ("g cannot be asked to retry: it is succeed already.", "不能对 g 执行 retry：状态已是 succeed。"),
        ("password: a password is one line of text", "密码：密码必须是一行文本"),
        ("nobody is called {0}\n<b>", "没有人叫 {0}\n<b>"),
        ("nothing that anybody has said", "nothing that anybody has said"),
        ("", ""),
    ],
)
def test_a_sentence_is_known_again_with_what_was_put_into_it(english: str, chinese: str) -> None:
    assert in_language(english, "zh") == chinese


def test_in_english_it_is_what_it_was_without_the_word_for_clients() -> None:
    assert in_language("it is not held FAILURE", "en") == "it is not held"


def test_nobody_waits_for_a_long_text() -> None:
    text = "filter: at character 1, " + ": " * 50_000
    assert in_language(text, "zh") == text
