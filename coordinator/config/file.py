"""conf.yml as it stands: which text is written for which key, and in which line (PROTOCOL §13).

Nothing is believed here: types, ranges and rules come later. Values stay the text that was written, because
what a text means depends on its key: `Password: 0123` is four characters, `HttpPort: 0x1F90` a number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

FILE_BYTES_MAX: Final = 1 << 20  # a conf.yml has two kilobytes; whatever is bigger was given by mistake
DEPTH_MAX: Final = (
    32  # conf.yml nests two deep; libyaml's composer overflows the C stack at some ten thousand
)
SECTION_DEPTH: Final = 2  # the file, and the sections in it

# libyaml reads as the reference does (a tab between key and value, for instance); some builds lack it.
_LOADER: Final[type[yaml.SafeLoader]] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the configuration, and what to do about it."""

    problem: str  # what is wrong; never holds a secret
    hint: str = ""  # what to write instead
    key: str = ""  # path of the key, `Store.Port`; empty when the file as a whole is meant
    line: int | None = None  # line in the file, from 1; None when the value is not from the file
    variable: str | None = None  # environment variable that holds the value
    file: Path | None = None

    def __str__(self) -> str:
        place = self.place
        key = f"{self.key}: " if self.key else ""
        hint = f" {self.hint}" if self.hint else ""
        return f"{place}{': ' if place else ''}{key}{self.problem}.{hint}"

    @property
    def place(self) -> str:
        """`conf.yml:12`, `conf.yml`, `environment STORE_PORT`, or nothing."""
        if self.variable is not None:
            return f"environment {self.variable}"
        if self.file is None:
            return ""
        return f"{self.file}:{self.line}" if self.line is not None else str(self.file)


class ConfigError(Exception):
    """The configuration cannot be used. problems: all that is wrong, never empty."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Text:
    """A single value. text: as written, without quotes. quoted: it stood in quotes (or in a block)."""

    text: str = field(repr=False)  # may be a password
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Nested:
    """A list, or a mapping deeper than conf.yml has sections: no value of ours looks like that."""

    kind: str


@dataclass(frozen=True, slots=True)
class Section:
    """Keys and what is written for them, in the order of the file."""

    entries: "Mapping[str, Entry]"


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands for one key. line: of the key, from 1. value: None for nothing, `~` and `null`."""

    line: int
    value: Text | Nested | Section | None


@dataclass(frozen=True, slots=True)
class Document:
    """A conf.yml. problems: what is wrong though the rest could be read. warnings: what is odd."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def read_document(file: Path) -> Document:
    """Read a conf.yml. Raises ConfigError when there is no such file, or when it is no YAML mapping."""
    text = _read_text(file)
    try:
        _check_depth(text, file)
        return _compose(text, file)
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        what = Problem("a control character that YAML does not allow", "Delete it.", line=line, file=file)
        raise ConfigError((what,)) from error
    except yaml.MarkedYAMLError as error:
        raise ConfigError((_syntax_problem(error, text, file),)) from error


def _read_text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        hint = "Name an existing file after -c, or leave -c out to run on a SQLite file in this directory."
        raise ConfigError((Problem("there is no such file", hint, file=file),)) from error
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ConfigError((Problem(f"the file cannot be read: {reason}", file=file),)) from error
    if len(data) > FILE_BYTES_MAX:
        problem = f"the file is longer than {FILE_BYTES_MAX} bytes: this is no conf.yml"
        raise ConfigError((Problem(problem, file=file),))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        what = Problem("the file is not UTF-8 text", "Save it as UTF-8.", line=line, file=file)
        raise ConfigError((what,)) from error


def _check_depth(text: str, file: Path) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentEndEvent):
            return
        if depth > DEPTH_MAX:
            line = event.start_mark.line + 1 if event.start_mark is not None else None
            raise ConfigError((Problem(f"nested more than {DEPTH_MAX} deep", line=line, file=file),))


def _compose(text: str, file: Path) -> Document:
    loader = _LOADER(text)
    try:
        if not loader.check_node():
            return Document()  # nothing but comments: all defaults
        root = loader.get_node()
        if isinstance(root, yaml.ScalarNode) and root.tag.endswith(":null"):
            return Document()
        if not isinstance(root, yaml.MappingNode):
            hint = "Write one `Key: value` per line."
            raise ConfigError((Problem("this is not a mapping of keys to values", hint, line=1, file=file),))
        problems: list[Problem] = []
        section = _section(root, loader, problems, file, depth=1, path="")
        warnings = []
        if loader.check_node():  # the reference, too, reads the first document only
            hint = "Everything after the second `---` is ignored."
            warnings.append(Problem("the file holds more than one document", hint, file=file))
        return Document(section.entries, tuple(problems), tuple(warnings))
    finally:
        loader.dispose()


def _section(
    node: yaml.MappingNode,
    loader: yaml.SafeLoader,
    problems: list[Problem],
    file: Path,
    *,
    depth: int,
    path: str,
) -> Section:
    first_lines: dict[str, int] = {}
    for key_node, _ in node.value:  # before merging, which makes honest duplicates
        key, line = _key(key_node), key_node.start_mark.line + 1
        if key in first_lines:
            problem = f"this key stands twice, in line {first_lines[key]} and here"
            problems.append(Problem(problem, "Keep one of them.", key=path + key, line=line, file=file))
        first_lines.setdefault(key, line)
    loader.flatten_mapping(node)  # resolves `<<: *other`
    entries: dict[str, Entry] = {}
    for key_node, value_node in node.value:
        key, line = _key(key_node), key_node.start_mark.line + 1
        value: Text | Nested | Section | None
        if isinstance(value_node, yaml.MappingNode) and depth < SECTION_DEPTH:
            value = _section(value_node, loader, problems, file, depth=depth + 1, path=f"{path}{key}.")
        elif isinstance(value_node, yaml.ScalarNode):
            value = _text(value_node)
            if not value_node.tag.startswith("tag:yaml.org,2002:"):
                hint = "Put it in quotes."
                problem = "a value that begins with ! is a YAML tag"
                problems.append(Problem(problem, hint, key=path + key, line=line, file=file))
        else:
            value = Nested("a mapping" if isinstance(value_node, yaml.MappingNode) else "a list")
        entries[key] = Entry(line, value)
    return Section(entries)


def _key(node: yaml.Node) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else "(a key that is no text)"


def _text(node: yaml.ScalarNode) -> Text | None:
    if node.tag == "tag:yaml.org,2002:null":
        return None
    return Text(node.value, quoted=bool(node.style))


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, file: Path) -> Problem:
    """Say in a sentence what YAML's grammar complains of; quotes nothing but one character of the file."""
    mark, begun = error.problem_mark, error.context_mark
    line = mark.line + 1 if mark is not None else None
    lines = text.splitlines()
    character = ""
    if mark is not None and mark.line < len(lines):
        character = lines[mark.line][mark.column : mark.column + 1]
    complaint = error.problem or "not valid YAML"
    if character == "\t" or "tab character" in complaint:
        return Problem("a tab in the indentation", "YAML takes spaces only.", line=line, file=file)
    if "cannot start any token" in complaint:
        hint = "Put the value in quotes."
        return Problem(f"no value can begin with {character}", hint, line=line, file=file)
    if isinstance(error, yaml.composer.ComposerError):
        problem = "a value that begins with * or & is YAML's alias or anchor"
        return Problem(problem, "Put the value in quotes.", line=line, file=file)
    if "mapping values are not allowed" in complaint:
        problem = "a colon where none is expected, or none in the line before"
        hint = "Write `Key: value`, all keys of a section equally far in, and quote a value that holds `: `."
        return Problem(problem, hint, line=line, file=file)
    since = ""
    if begun is not None and begun.line + 1 != line and error.context:
        since = f", {error.context} that began in line {begun.line + 1}"
    return Problem(f"this is not valid YAML: {complaint}{since}", line=line, file=file)
