"""The one catalogue: every sentence of the pages, in every language. Pure, but for reading its files once."""

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from markupsafe import Markup, escape

LANGUAGES: Final[Mapping[str, str]] = {"en": "English", "zh": "简体中文"}
FIRST: Final = "en"
_ONE: Final = "_one"  # a sentence of its own for a count of 1


class Words:
    """The sentences of one language.

    Each is called by its file and key: `inbox.heading` is `[heading]` of words/inbox.toml. It may have
    `{name}` in it; with a `count` of 1 its `en_one` is taken, where it has one. What is put in is escaped,
    unless it is markup.
    """

    def __init__(self, language: str, sentences: Mapping[str, Mapping[str, str]]) -> None:
        self.language = language
        self._sentences = sentences

    def __call__(self, key: str, **values: Any) -> Markup:
        """The sentence. Raises KeyError for one that is missing, or a value that is."""
        forms = self._sentences[key]
        text = forms[self.language]
        if values.get("count") == 1:
            text = forms.get(self.language + _ONE, text)
        shown = {name: number(value) if isinstance(value, int) else value for name, value in values.items()}
        return Markup(escape(text)).format(**shown)

    def has(self, key: str) -> bool:
        """Whether there is such a sentence."""
        return key in self._sentences


def number(value: int) -> str:
    """With thousands told apart."""
    return f"{value:,}"


@cache
def catalogue() -> Mapping[str, Mapping[str, str]]:
    """Every sentence, by language and form, by its key."""
    found: dict[str, Mapping[str, str]] = {}
    for file in files(__package__).joinpath("words").iterdir():
        name, _, kind = file.name.rpartition(".")
        if kind == "toml":
            for key, forms in tomllib.loads(file.read_text(encoding="utf-8")).items():
                found[f"{name}.{key}"] = forms
    return found


def words_in(language: str) -> Words:
    """The sentences of this language."""
    return Words(language, catalogue())


def language_of(chosen: str, accepted: str) -> str:
    """Which language to speak. chosen: by hand, may be empty. accepted: the header Accept-Language."""
    if chosen in LANGUAGES:
        return chosen
    for tag in _by_weight(accepted):
        language = tag.split("-")[0].lower()
        if language in LANGUAGES:
            return language
    return FIRST


def _by_weight(accepted: str) -> Iterable[str]:
    weighed = []
    for item in accepted[:500].split(","):
        tag, _, parameter = item.strip().partition(";")
        try:
            weight = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            weight = 0.0
        weighed.append((weight, tag.strip()))
    return (tag for _, tag in sorted(weighed, key=lambda it: -it[0]))
