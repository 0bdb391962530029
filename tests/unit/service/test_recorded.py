"""What stands in the record of who did what has words for it, whoever writes it there."""

import ast
from collections.abc import Iterator
from typing import TypeGuard

import pytest

from coordinator.explain.actions import Action
from coordinator.service.bulk import _VERBS
from coordinator.service.bulk_plan import ACTIONS
from coordinator.service.recorded import _IN_WORDS, in_words
from tests.support.documents import ROOT


def written() -> Iterator[str]:
    """The actions that the code names where it makes a record, or has it made of a topic."""
    for file in (ROOT / "coordinator").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Record":
                yield from (str(it.value) for it in ast.walk(node.args[0]) if _is_text(it))
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "self._change":
                yield from (str(it.value) for it in node.args if _is_text(it))


def _is_text(node: ast.AST) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value != "bulk "


def test_every_action_that_is_recorded_has_words_and_no_other() -> None:
    bulk = {f"bulk {it}" for it in (*ACTIONS, *_VERBS.values())}
    assert {*written(), *(str(it) for it in Action), *bulk} == set(_IN_WORDS)


@pytest.mark.parametrize(
    ("action", "english", "chinese"),
    [
        ("stop", "Stop for good", "强制停止"),
        ("user add", "Add somebody who may log in", "添加用户"),
        ("POST /api/dtmsvr/forceStop", "Call POST /api/dtmsvr/forceStop", "调用 POST /api/dtmsvr/forceStop"),
        ("", "Call ", "调用 "),
    ],
)
def test_it_is_told_in_the_language_of_who_reads_it(action: str, english: str, chinese: str) -> None:
    said = in_words(action)
    assert (said.told(), said.told("zh")) == (english, chinese)
