"""What is said of a transaction, in every language that pages speak. Pure, but for reading its file once.

A sentence is its key and what stands in it; a value may be a sentence, too.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Final, Union

FIRST: Final = "en"  # as the API, commands and logs have it

Value = Union[str, int, datetime, "Sentence"]


@dataclass(frozen=True, slots=True)
class Sentence:
    """key: in sentences.toml. values: by the names in it; times are aware, UTC."""

    key: str
    values: Mapping[str, Value] = field(default_factory=dict, hash=False)

    def told(self, language: str = FIRST) -> str:
        """In that language; in English where it is not known. Raises KeyError for what is missing."""
        forms = sentences()[self.key]
        values = {name: _shown(value, language) for name, value in self.values.items()}
        return forms.get(language, forms[FIRST]).format(**values)

    def with_texts(self, change: Callable[[str], str]) -> "Sentence":
        """The same, every text in it changed so."""
        return Sentence(self.key, {name: _changed(value, change) for name, value in self.values.items()})


def sentence(key: str, **values: Value) -> Sentence:
    """The sentence of this key, with these values."""
    return Sentence(key, values)


@cache
def sentences() -> Mapping[str, Mapping[str, str]]:
    """Each sentence, by language, by its key."""
    return tomllib.loads(files(__package__).joinpath("sentences.toml").read_text(encoding="utf-8"))


def _shown(value: Value, language: str) -> str:
    match value:
        case Sentence():
            return value.told(language)
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S} UTC"
        case _:
            return str(value)


def _changed(value: Value, change: Callable[[str], str]) -> Value:
    if isinstance(value, Sentence):
        return value.with_texts(change)
    return change(value) if isinstance(value, str) else value
