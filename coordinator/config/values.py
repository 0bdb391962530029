"""From written text to typed values: what conf.yml and the environment give each field (PROTOCOL §13)."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from coordinator.config.file import Document, Entry, Problem, Section, Text
from coordinator.config.settings import Settings, section_of, variable, yaml_key

FieldPath = tuple[str, ...]  # ("store", "driver")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written."""

    line: int | None = None
    variable: str | None = None


@dataclass(slots=True)
class Values:
    """What was written, ready for `Settings`. tree: nested dictionaries by field name."""

    file: Path | None
    tree: dict[str, Any] = field(default_factory=dict)
    origins: dict[FieldPath, Origin] = field(default_factory=dict)  # of the fields that were given
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def problem(self, path: FieldPath, problem: str, hint: str = "", *, near: FieldPath = ()) -> Problem:
        """A problem of that field, placed where it, or else the field `near`, was written."""
        origin = self.origins.get(path) or self.origins.get(near) or Origin()
        file = self.file if origin.line is not None else None
        return Problem(problem, hint, key_of(path), origin.line, origin.variable, file)

    def given(self, path: FieldPath) -> object:
        """The value of that field, None where there is none."""
        return self._section(path).get(path[-1])

    def give(self, path: FieldPath, value: object, *, origin: Origin) -> None:
        """Put a value there. origin: where it was written."""
        self._section(path)[path[-1]] = value
        self.origins[path] = origin

    def drop(self, path: FieldPath) -> object:
        """Take a value out again; returns it."""
        return self._section(path).pop(path[-1], None)

    def _section(self, path: FieldPath) -> dict[str, Any]:
        tree = self.tree
        for section in path[:-1]:
            tree = tree[section]
        return tree


def key_of(path: FieldPath) -> str:
    """The path as conf.yml has it: `Store.Driver`."""
    return ".".join(yaml_key(name) for name in path)


def every_field(model: type[BaseModel] = Settings, path: FieldPath = ()) -> Iterator[tuple[FieldPath, Any]]:
    """Every single field of the settings, with its annotated type, in order."""
    for name, info in model.model_fields.items():
        section = section_of(info)
        if section is None:
            yield (*path, name), info.annotation
        else:
            yield from every_field(section, (*path, name))


def gather(file: Path | None, document: Document, environment: Mapping[str, str]) -> Values:
    """Take from file and environment what is there for each field; the file wins."""
    values = Values(file)
    values.problems.extend(document.problems)
    values.warnings.extend(document.warnings)
    sections: dict[FieldPath, Mapping[str, Entry]] = {(): document.entries}
    for name, info in Settings.model_fields.items():
        if section_of(info) is not None:
            sections[(name,)] = _section(values, name, document.entries)
            values.tree[name] = {}
    for path, entries in sections.items():
        _warn_of_unknown(values, path, entries)
    for path, annotation in every_field():
        entry = sections[path[:-1]].get(yaml_key(path[-1]))
        value = _from_file(values, path, annotation, entry)
        if value is None and path not in values.origins:
            value = _from_environment(values, path, annotation, environment)
        if value is not None:
            tree = values.tree[path[0]] if len(path) > 1 else values.tree
            tree[path[-1]] = value
    return values


def _section(values: Values, name: str, entries: Mapping[str, Entry]) -> Mapping[str, Entry]:
    entry = entries.get(yaml_key(name))
    if entry is None or entry.value is None:
        return {}
    if isinstance(entry.value, Section):
        return entry.value.entries
    values.origins[(name,)] = Origin(line=entry.line)
    hint = "Write its keys below it, each further in."
    values.problems.append(values.problem((name,), "keys belong here, not a value", hint))
    return {}


def _warn_of_unknown(values: Values, path: FieldPath, entries: Mapping[str, Entry]) -> None:
    every = {key_of(known) for known, _ in every_field()} | {key_of(known[:1]) for known, _ in every_field()}
    for key, entry in entries.items():
        full = ".".join((*map(yaml_key, path), key))
        if full in every:
            continue
        meant = _meant(full, every)
        hint = f"Did you mean {meant}?" if meant else ""
        warning = Problem("unknown key, ignored", hint, full, entry.line, file=values.file)
        values.warnings.append(warning)


def _meant(key: str, every: set[str]) -> str | None:
    """The known key that was probably meant: other capitals, another section, a slip of the pen."""
    lower = {known.lower(): known for known in sorted(every)}
    if key.lower() in lower:
        return lower[key.lower()]
    close = difflib.get_close_matches(key.lower(), lower, n=1, cutoff=0.8)
    if close:
        return lower[close[0]]
    last = key.lower().rpartition(".")[2]
    return next((known for known in sorted(every) if known.lower().rpartition(".")[2] == last), None)


def _from_file(values: Values, path: FieldPath, annotation: object, entry: Entry | None) -> object:
    if entry is None or entry.value is None:
        return None
    values.origins[path] = Origin(line=entry.line)
    if isinstance(entry.value, Text):
        return _typed(values, path, annotation, entry.value)
    kind = "keys" if isinstance(entry.value, Section) else entry.value.kind
    hint = "Put it in quotes if it is meant as text."
    values.problems.append(values.problem(path, f"one value belongs here, not {kind}", hint))
    return None


def _from_environment(
    values: Values, path: FieldPath, annotation: object, environment: Mapping[str, str]
) -> object:
    name = variable(path)
    text = environment.get(name, "")
    if not text:
        return None
    values.origins[path] = Origin(variable=name)
    return _typed(values, path, annotation, Text(text, quoted=True))


def _typed(values: Values, path: FieldPath, annotation: object, written: Text) -> object:
    """The value for a field of that type; None, and a problem noted, when the text does not fit it."""
    if annotation is bool and written.text.lower() in {"true", "false"}:
        return written.text.lower() == "true"
    if annotation is not int and annotation is not bool:
        return written.text
    number = _number(written)
    if number is None:
        hint = "Write digits only." if annotation is int else "Write 1 or 0."
        if written.text.startswith("tcp://"):
            hint = "Kubernetes sets this for a service of that name; `enableServiceLinks: false` stops it."
        values.problems.append(values.problem(path, f"{_shown(written.text)} is no whole number", hint))
        return None
    whole = int(number)
    if whole != number:
        problem = f"{written.text} is taken as {whole}, whole numbers only"
        values.warnings.append(values.problem(path, problem))
    return whole if annotation is int else whole != 0


def _number(written: Text) -> int | float | None:
    """Read a number as the reference does: decimal; without quotes also 0x1F, 0b1, 0o17, 017, 1_000, 1e3."""
    text = written.text.strip()
    if re.fullmatch(r"[-+]?[0-9]{1,20}", text) and (written.quoted or not re.match(r"[-+]?0[0-9]", text)):
        return int(text)
    if written.quoted:
        return None
    text = text.replace("_", "").lower()
    if octal := re.fullmatch(r"([-+]?)0([0-7]{1,20})", text):
        return int(octal[1] + octal[2], 8)
    if re.fullmatch(r"[-+]?(0x[0-9a-f]{1,16}|0b[01]{1,64}|0o[0-7]{1,20}|[1-9][0-9]{0,19})", text):
        return int(text, 0)
    if re.fullmatch(r"[-+]?(\.[0-9]{1,20}|[0-9]{1,20}(\.[0-9]{0,20})?)(e[-+]?[0-9]{1,2})?", text):
        return float(text)
    return None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")
