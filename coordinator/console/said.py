"""What other rooms say in English, in the language of a page. Pure, but for reading its file once.

An error is one sentence for the API, commands and logs (PROTOCOL §2), with what is wrong put into it. Pages
know it again by its form.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from coordinator.errors import FAILURE_WORD
from coordinator.explain.sentences import FIRST, sentences

_PLACE: Final = re.compile(r"\{(\w+)\}")
_TEXT_MAX: Final = 1_000  # characters of what is looked at; what is longer stays as it is
_DEPTH_MAX: Final = 3  # of sentences within sentences


def in_language(text: str, language: str) -> str:
    """The sentence in that language; as it is where nobody has said it there, without FAILURE behind it."""
    said = text.removesuffix(f" {FAILURE_WORD}")
    return said if language == FIRST else _in_language(said, language, _DEPTH_MAX)


def _in_language(text: str, language: str, depth: int) -> str:
    if not depth or len(text) > _TEXT_MAX:
        return text
    fits = ((form.fullmatch(text), sentence) for form, sentence in _forms(language))
    found, sentence = next(((it, said) for it, said in fits if it), (None, text))
    if found is None:
        return text
    values = {name: _in_language(it, language, depth - 1) for name, it in found.groupdict().items()}
    return _PLACE.sub(lambda place: values[_group(place[1])], sentence)


@cache
def catalogue() -> Mapping[str, Mapping[str, str]]:
    """Each sentence by its English one, by language."""
    found: dict[str, Mapping[str, str]] = tomllib.loads(
        files(__package__).joinpath("said.toml").read_text(encoding="utf-8")
    )
    return found


@cache
def _forms(language: str) -> Sequence[tuple[re.Pattern[str], str]]:
    """How each looks with something put in, and what it is called there; those that say most are first."""
    said = dict(catalogue()[language])
    said |= {forms[FIRST]: forms[language] for forms in sentences().values() if language in forms}
    ranked = sorted(said, key=lambda it: (-len(_PLACE.sub("", it)), it))
    return [(_form_of(english), said[english]) for english in ranked if _PLACE.sub("", english).strip()]


def _form_of(english: str) -> re.Pattern[str]:
    parts, at = [], 0
    for place in _PLACE.finditer(english):
        parts += [re.escape(english[at : place.start()]), f"(?P<{_group(place[1])}>.*?)"]
        at = place.end()
    return re.compile("".join([*parts, re.escape(english[at:])]), re.DOTALL)


def _group(name: str) -> str:
    return f"_{name}"
