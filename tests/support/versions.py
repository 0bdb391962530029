"""Check that the versions written in several files agree: `python -m tests.support.versions`."""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def disagreements(root: Path = ROOT) -> Iterator[str]:
    """Yield one sentence for each thing that does not agree with pyproject.toml."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = project["version"]
    yield from _package_version(root, version)
    yield from _changelog(root, version)
    yield from _constraints(root, project)


def _package_version(root: Path, version: str) -> Iterator[str]:
    source = (root / "coordinator" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    if found is None or found[1] != version:
        yield f"coordinator/__init__.py: __version__ is {found[1] if found else 'missing'}, not {version}"


def _changelog(root: Path, version: str) -> Iterator[str]:
    headings = re.findall(r"^## \[(.+?)\]", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    if headings[:1] != ["Unreleased"]:
        yield "CHANGELOG.md: the first section must be [Unreleased]"
    released = [heading for heading in headings if heading != "Unreleased"]
    if released and released[0] != version:
        yield f"CHANGELOG.md: the newest release is {released[0]}, not {version}"


def _constraints(root: Path, project: dict[str, object]) -> Iterator[str]:
    exact: dict[str, str] = {}
    for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        name, separator, number = line.partition("==")
        if not separator or not re.fullmatch(r"[\w.+!]+", number):
            yield f"constraints.txt: {line!r} is not name==version"
        exact[canonicalize_name(name)] = number
    dependencies = project["dependencies"]
    extras = project["optional-dependencies"]
    assert isinstance(dependencies, list)
    assert isinstance(extras, dict)
    for text in [*dependencies, *(text for extra in extras.values() for text in extra)]:
        wanted = Requirement(text)
        if wanted.name == project["name"]:  # one extra names another
            continue
        number = exact.get(canonicalize_name(wanted.name), "")
        if not number or not wanted.specifier.contains(number):
            yield f"constraints.txt: {wanted.name}=={number or '(missing)'} does not fit {text!r}"


def main() -> int:
    """Print what disagrees; return the exit code."""
    found = list(disagreements())
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
