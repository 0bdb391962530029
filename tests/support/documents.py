"""The commands in a Markdown document, and what becomes of each. Pure but for asking bash about syntax."""

import enum
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHELL_LANGUAGES = {"sh", "bash", "shell", "zsh", "console"}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. line: of its first line of text, from 1."""

    language: str
    line: int
    text: str


class Kind(enum.Enum):
    """What becomes of a command."""

    DONE_BEFORE = enum.auto()
    MAKE = enum.auto()
    CONTAINER = enum.auto()
    COORDINATOR = enum.auto()
    BRANCH = enum.auto()
    RUN = enum.auto()


def documents(root: Path = ROOT) -> list[Path]:
    """Return the documents a user reads."""
    fixed = ("README.md", "CONTRIBUTING.md", "bench/README.md", "examples/README.md")
    return [*(root / name for name in fixed), *sorted((root / "docs").rglob("*.md"))]


def fenced_blocks(markdown: str) -> Iterator[Block]:
    """Yield the fenced blocks; a fence may be indented, as in a list."""
    pattern = re.compile(
        r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n`]*\n(?P<text>.*?)^ *```\s*$", re.M | re.S
    )
    for match in pattern.finditer(markdown):
        indent = len(match["indent"])
        lines = [line[indent:] if line[:indent].isspace() else line for line in match["text"].splitlines()]
        line = markdown.count("\n", 0, match.start("text")) + 1
        yield Block(match["language"], line, "\n".join(lines))


def split_commands(text: str) -> Iterator[str]:
    """Yield the commands of a block, each with all its lines; comments and empty lines are left out."""
    gathered: list[str] = []
    for line in text.splitlines():
        if not gathered and (not line.strip() or line.lstrip().startswith("#")):
            continue
        gathered.append(line)
        if _is_complete(gathered):
            yield "\n".join(gathered)
            gathered = []
    if gathered:
        yield "\n".join(gathered)


def _is_complete(lines: Sequence[str]) -> bool:
    if lines[-1].endswith("\\"):
        return False
    # The shell knows best; an open here-document is only a warning to it.
    done = subprocess.run(["bash", "-n", "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    return done.returncode == 0 and "here-document" not in done.stderr


def kind_of(command: str) -> Kind:
    """Return what becomes of a command."""
    words = [word for word in command.split() if not re.fullmatch(r"[A-Z_]+=\S*", word)]
    program = Path(words[0]).name if words else ""
    match program, words[1:]:
        case ("make", _):
            return Kind.MAKE
        case ("cd" | "source" | ".", _) | ("git", ["clone", *_]) | ("pip" | "uv", _):
            return Kind.DONE_BEFORE
        case (("python" | "python3"), ["-m", ("pip" | "venv"), *_]):
            return Kind.DONE_BEFORE
        case ("docker", _):
            return Kind.CONTAINER
        case (("python" | "python3"), ["-m", module, *_]) if module.startswith(
            ("branches.", "examples.shop")
        ):
            return Kind.BRANCH
        case (("python" | "python3"), ["examples/branch.py"]):
            return Kind.BRANCH
        case ("dtm", rest) | (("python" | "python3"), ["-m", "coordinator", *rest]) if _serves(rest):
            return Kind.COORDINATOR
        case _:
            return Kind.RUN


def _serves(arguments: Sequence[str]) -> bool:
    """Return whether `dtm` with these arguments is a server, and not `dtm check` or `dtm -v`."""
    if {"-h", "-v", "--help", "--version"} & set(arguments):
        return False
    return not arguments or arguments[0].startswith(("-", "&", "#", ">"))


def make_targets(root: Path = ROOT) -> set[str]:
    """Return the targets that a person may ask `make` for."""
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    return {
        target for line in re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE) for target in line.split()
    }
