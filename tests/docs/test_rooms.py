"""Every folder says in one line what it knows and what it may import; docs/architecture.md says the same."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from tests.support.documents import ROOT

CODE = ROOT / "coordinator"
GENERATED = {
    CODE / "proto" / name for name in ("dtmgimp", "dtmcoordinator", "workflow", "google", "google/protobuf")
}
FOLDERS = sorted({file.parent for file in CODE.rglob("*.py")} - GENERATED - {CODE})
LOOSE = [
    file for home in (CODE, CODE / "client") for file in sorted(home.glob("*.py")) if file.stem[:2] != "__"
]
RULES = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
    "contracts"
]
NOUNS = {"coordinator.model", "coordinator.errors", "coordinator.clock"}


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


ROOMS = {dotted(path) for path in [*FOLDERS, *LOOSE]}


def first_line(path: Path) -> str:
    """What stands first in a module, or in a folder's `__init__`."""
    file = path / "__init__.py" if path.is_dir() else path
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def floors(home: str) -> list[set[str]]:
    """The linter's floors, the highest first, of the server (`coordinator`) or the client."""
    of_all = [
        [set(floor.split(" | ")) for floor in rule["layers"]] for rule in RULES if rule["type"] == "layers"
    ]
    (found,) = (floors for floors in of_all if {dotted_home(room) for room in set().union(*floors)} == {home})
    return found


def dotted_home(room: str) -> str:
    return room.rpartition(".")[0]


def floor_of(room: str) -> int | None:
    """Counted from above; None of what stands on no floor."""
    return next((at for at, floor in enumerate(floors(dotted_home(room))) if room in floor), None)


def said_imports(room: str) -> set[str]:
    """The rooms that a folder's line names. below: all floors under the first named, settings excepted."""
    home = dotted_home(room)
    said = re.search(r"Imports (.+)\.$", first_line(ROOT / room.replace(".", "/")))
    assert said is not None, f"{room}: its line does not end in 'Imports ….'"
    imports: set[str] = set()
    if said[1] == "nothing of ours":
        return imports
    named = re.split(r", | and ", said[1].removesuffix(" alone"))
    for name in named:
        if name == "the nouns":
            imports |= NOUNS
        elif name != "below":
            full = f"{home}.{name}" if f"{home}.{name}" in ROOMS else f"coordinator.{name}"
            assert full in ROOMS, f"{room}: there is no room {name}"
            imports.add(full)
    if "below" in named:
        top = min(at for at in map(floor_of, imports) if at is not None)
        imports.update(*floors(home)[top + 1 :])
        imports -= {"coordinator.config"} - {f"coordinator.{name}" for name in named}
        if home != "coordinator":
            imports |= said_imports(home)
    return imports


def real_imports(folder: Path) -> set[str]:
    """The rooms that a folder's files import, wherever in the file."""
    names: set[str] = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.update(f"{node.module}.{one.name}" for one in node.names)
            elif isinstance(node, ast.Import):
                names.update(one.name for one in node.names)
    room = dotted(folder)
    inside = {found for name in names for found in ROOMS if f"{name}.".startswith(f"{found}.")}
    closest = {found for found in inside if not any(other.startswith(f"{found}.") for other in inside)}
    if dotted_home(room) == "coordinator":  # seen from another room the client is one
        closest = {".".join(found.split(".")[:2]) for found in closest}
    return {found for found in closest if not f"{found}.".startswith(f"{room}.")}


def table() -> list[tuple[Path, str]]:
    """The rows of docs/architecture.md: folder or file, and its sentence."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(coordinator/[^`]*)` \| (.*) \|$", text, re.MULTILINE)
    return [(ROOT / path, sentence) for path, sentence in rows]


@pytest.mark.parametrize("path", [*FOLDERS, *LOOSE], ids=dotted)
def test_the_architecture_says_of_each_room_what_the_room_says_of_itself(path: Path) -> None:
    assert first_line(path), f"{dotted(path)} does not say what it knows"
    assert [sentence for row, sentence in table() if row == path] == [first_line(path)]


def test_the_table_names_no_room_that_is_not_there() -> None:
    assert {row for row, _ in table()} == {*FOLDERS, *LOOSE}


@pytest.mark.parametrize("home", ["coordinator", "coordinator.client"])
def test_what_a_room_may_import_stands_below_it_in_the_table(home: str) -> None:
    placed = [floor_of(dotted(row)) for row, _ in table() if dotted_home(dotted(row)) == home]
    known = [at for at in placed if at is not None]
    assert known == sorted(known)


@pytest.mark.parametrize("folder", FOLDERS, ids=dotted)
def test_a_folder_imports_only_what_its_line_names(folder: Path) -> None:
    assert real_imports(folder) - said_imports(dotted(folder)) == set()


@pytest.mark.parametrize("folder", FOLDERS, ids=dotted)
def test_the_line_allows_nothing_that_the_linter_forbids(folder: Path) -> None:
    room = dotted(folder)
    said = said_imports(room)
    mine = floor_of(room)
    higher = floors(dotted_home(room))[: 0 if mine is None else mine + 1]
    assert said & set().union(*higher) == set()
    for rule in RULES:
        if rule["type"] == "forbidden" and room in rule["source_modules"]:
            assert said & set(rule["forbidden_modules"]) == set(), rule["name"]
