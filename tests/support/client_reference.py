"""Write docs/client/reference.md from the docstrings (`make reference`).

With `--check` nothing is written and the exit code says whether the file is what the docstrings make.
"""

import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, Final, TypeGuard

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "client" / "reference.md"
PROTOCOL = ROOT / "docs" / "protocol.md"
MODULES: Final = {
    "coordinator.client": "Async, and everything that both clients share.",
    "coordinator.client.sync": "For blocking code. What is not here is that of `coordinator.client`.",
    "coordinator.client.grpcio": "Branches on grpcio's servers. Extra: `dtm-coordinator[grpcio]`.",
    "coordinator.testing": "For tests. Extra: `dtm-coordinator[testing]`.",
    "coordinator.client.service": "For services in go-zero's manner. Extra: `dtm-coordinator[service]`.",
}
HEADER: Final = """\
# Reference of the Python client

<!-- made from the docstrings by `make reference` -->

Every public name, with what it takes, returns and raises. Times are seconds. `§6` is a section of
[the protocol](../protocol.md). How the names work together is in the [tutorial](tutorial.md) and the
[how-to pages](README.md#how-do-i).
"""
WIDTH: Final = 100


def reference() -> str:
    """Return the whole text."""
    parts = [HEADER]
    for name, sentence in MODULES.items():
        module = importlib.import_module(name)
        parts.append(f"## {name}\n\n{sentence}\n")
        for member_name in sorted(module.__all__, key=str.lower):
            member = getattr(module, member_name)
            if isinstance(member, type):
                parts.extend(_class(member_name, member))
            elif isinstance(member, FunctionType):
                parts.append(_entry(f"### {member_name}", _signature(member), _said(member)))
            else:
                parts.append(f"### {member_name}\n\n{_value(member)}\n")
    return "\n".join(parts)


def _class(name: str, member: type) -> Iterator[str]:
    bases = [one.__name__ for one in member.__bases__ if one.__module__.startswith("coordinator.")]
    init = vars(member).get("__init__")
    made = _signature(init, name) if _is_written(init, member) else f"class {name}"
    if fields := _fields(member):
        made = "\n".join([f"class {name}:", *(f"    {field}" for field in fields)])
    kind = f"Made from `{'`, `'.join(bases)}`. " if bases else ""
    yield _entry(f"### {name}", made, kind + _said(member))
    for key, value in vars(member).items():
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if key.startswith("_") or not _is_written(function, member):
            continue
        shown = f"{key}: {_returns(function)}" if isinstance(value, property) else _signature(function)
        yield _entry(f"#### {name}.{key}", shown, _said(function))


def _entry(heading: str, signature: str, said: str) -> str:
    return f"{heading}\n\n```py\n{signature}\n```\n\n{said}\n"


def _is_written(function: Any, member: type) -> TypeGuard[FunctionType]:
    """False for what dataclasses, enums and parents made."""
    return (
        isinstance(function, FunctionType)
        and function.__code__.co_filename.endswith(".py")
        and function.__qualname__.startswith(f"{member.__name__}.")
    )


def _node(function: FunctionType) -> ast.FunctionDef | ast.AsyncFunctionDef:
    parsed = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(parsed, (ast.FunctionDef, ast.AsyncFunctionDef))
    return parsed


def _signature(function: FunctionType, called: str = "") -> str:
    """Return the line as it is written. called: the class that it makes."""
    node = _node(function)
    node.args.args = [one for one in node.args.args if one.arg not in ("self", "cls")]
    start = called or f"{'async ' if isinstance(node, ast.AsyncFunctionDef) else ''}def {node.name}"
    arguments, end = ast.unparse(node.args), "" if called else f" -> {_returns(function)}"
    line = f"{start}({arguments}){end}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{start}(", *(f"    {one}," for one in _arguments(node.args)), f"){end}"])


def _arguments(arguments: ast.arguments) -> Iterator[str]:
    """Yield each parameter with its type and default, the stars too."""
    given = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(given) - len(arguments.defaults)) + list(arguments.defaults)
    for one, default in zip(given, defaults, strict=True):
        yield _argument(one, default)
    if arguments.vararg:
        yield f"*{ast.unparse(arguments.vararg)}"
    elif arguments.kwonlyargs:
        yield "*"
    for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _argument(one, default)
    if arguments.kwarg:
        yield f"**{ast.unparse(arguments.kwarg)}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(argument) + (f" = {ast.unparse(default)}" if default is not None else "")


def _returns(function: FunctionType) -> str:
    node = _node(function)
    return ast.unparse(node.returns).strip("'\"") if node.returns is not None else "None"


def _fields(member: type) -> list[str]:
    """The lines of a dataclass, TypedDict or enum."""
    body = ast.parse(textwrap.dedent(inspect.getsource(member))).body[0]
    assert isinstance(body, ast.ClassDef)
    simple = {"dataclass"} & {ast.unparse(one).partition("(")[0] for one in body.decorator_list}
    simple |= {"TypedDict", "StrEnum", "Enum"} & {ast.unparse(one) for one in body.bases}
    if not simple:
        return []
    lines = [ast.unparse(one) for one in body.body if isinstance(one, (ast.AnnAssign, ast.Assign))]
    return [line for line in lines if not line.startswith("_")]


def _said(member: Any) -> str:
    """Its docstring without the example, in Markdown."""
    said = re.split(r"^Example:$", inspect.getdoc(member) or "", flags=re.MULTILINE)[0].strip()
    return re.sub(r"§(\d+)(?!\d)", lambda found: _section(int(found[1])), said.replace("PROTOCOL §", "§"))


def _value(member: Any) -> str:
    if type(member).__module__.startswith("coordinator."):
        return f"A [`{type(member).__name__}`](#{type(member).__name__.lower()}), to be used as it is."
    return f"A type: `{str(member).replace('typing.', '').replace('collections.abc.', '')}`."


def _section(number: int) -> str:
    heading = re.search(rf"^## ({number}\. .+)$", PROTOCOL.read_text(encoding="utf-8"), re.MULTILINE)
    assert heading is not None, f"docs/protocol.md has no section {number}"
    anchor = re.sub(r"[^\w -]", "", heading[1]).lower().replace(" ", "-")
    return f"[§{number}](../protocol.md#{anchor})"


def main() -> int:
    """Write, or with --check compare; return the exit code."""
    text = reference()
    if "--check" not in sys.argv[1:]:
        FILE.write_text(text, encoding="utf-8")
        return 0
    if FILE.is_file() and FILE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/client/reference.md is not what the docstrings make: run `make reference`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
