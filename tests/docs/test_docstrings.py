"""What the client exports explains itself: types, errors, and the paragraph of the protocol."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from types import FunctionType, ModuleType, UnionType
from typing import Any

import pytest

import coordinator.client
import coordinator.client.grpcio
import coordinator.client.service
import coordinator.client.sync
import coordinator.testing

TRANSACTIONS = [coordinator.client, coordinator.client.sync, coordinator.client.grpcio, coordinator.testing]
MODULES = [*TRANSACTIONS, coordinator.client.service]
CALLED_BY_PYTHON = ("__init__", "__enter__", "__aenter__", "__exit__", "__aexit__")


def exported(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The classes and functions; a union of types and an object have no docstring of their own."""
    for name in module.__all__:
        member = getattr(module, name)
        if isinstance(member, (type, FunctionType)):
            yield name, member
        else:
            assert isinstance(member, UnionType) or type(member).__name__ in [*module.__all__, "Stacks"], name


def functions(module: ModuleType) -> Iterator[tuple[str, Any, str]]:
    """Every function and method that can be called from outside, and what its docstring and its class say."""
    for name, member in exported(module):
        if isinstance(member, FunctionType):
            yield name, member, inspect.getdoc(member) or ""
            continue
        for key, value in vars(member).items():
            function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if not isinstance(function, FunctionType) or (
                key.startswith("_") and key not in CALLED_BY_PYTHON
            ):
                continue
            if written_here(function, member):
                said = f"{inspect.getdoc(member) or ''} {inspect.getdoc(function) or ''}"
                yield f"{name}.{key}", function, said


def written_here(function: FunctionType, member: type) -> bool:
    """False for what dataclasses, protocols and enums make."""
    return function.__code__.co_filename.endswith(".py") and function.__qualname__.startswith(member.__name__)


def errors_of(function: FunctionType) -> set[str]:
    """The names of what the function itself raises."""
    raised = set()
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Raise) and node.exc is not None:
            error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(error, ast.Name) and error.id[0].isupper():
                raised.add(error.id)
    return raised


@pytest.mark.parametrize("module", TRANSACTIONS, ids=lambda it: it.__name__)
def test_every_public_name_cites_the_protocol(module: ModuleType) -> None:
    without = [name for name, it in exported(module) if not re.search(r"§\d", inspect.getdoc(it) or "")]
    assert without == []


@pytest.mark.parametrize("module", MODULES, ids=lambda it: it.__name__)
def test_every_public_function_says_what_it_does(module: ModuleType) -> None:
    without = [
        name
        for name, function, _ in functions(module)
        if name.rpartition(".")[2] not in CALLED_BY_PYTHON and not inspect.getdoc(function)
    ]
    assert without == []


@pytest.mark.parametrize("module", MODULES, ids=lambda it: it.__name__)
def test_every_public_function_gives_its_types(module: ModuleType) -> None:
    without = []
    for name, function, _ in functions(module):
        parameters = [it for it in inspect.signature(function).parameters if it not in ("self", "cls")]
        if {*parameters, "return"} - function.__annotations__.keys():
            without.append(name)
    assert without == []


@pytest.mark.parametrize("module", MODULES, ids=lambda it: it.__name__)
def test_every_public_function_names_the_errors_that_it_raises(module: ModuleType) -> None:
    unsaid = {
        f"{name}: {error}"
        for name, function, said in functions(module)
        for error in errors_of(function)
        if error not in said
    }
    assert unsaid == set()
