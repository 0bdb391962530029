"""Urls of the functions of a program that has its coordinator inside: `local://name`. Pure."""

import re
from collections.abc import Collection
from typing import Final

LOCAL: Final = "local://"
# What is wrong with such a url wherever it is not known, as the end of a sentence.
NOT_HERE: Final = (
    "names a function of a program that has its coordinator inside, which alone can call it: submit there, or"
    " give the url of a service; what is stored already is done when such a program takes it up"
)

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")


def is_local(url: str) -> bool:
    """Whether the url names a function."""
    return url.startswith(LOCAL)


def is_function_name(name: str) -> bool:
    """Whether a function can be called so: 100 letters, digits and `_.-` at most, a letter or `_` first."""
    return _NAME.fullmatch(name) is not None


def function_of(url: str) -> str:
    """The name in such a url. Raises ValueError, the end of a sentence."""
    name = url.removeprefix(LOCAL)
    if not is_function_name(name):
        raise ValueError(f"names no function: write {LOCAL} and its name, such as {LOCAL}charge")
    return name


def problem_of(url: str, names: Collection[str] | None) -> str:
    """Why the function cannot be called, as the end of a sentence; empty where it can.

    names: of the functions that there are; None where none can be.
    """
    if names is None:
        return NOT_HERE
    try:
        name = function_of(url)
    except ValueError as error:
        return str(error)
    if name in names:
        return ""
    known = ", ".join(sorted(names)) or "none"
    return (
        f"names no function of this program, which has {known}: give it to functions=, or submit where it is;"
        " what is stored already is done when a program that has it takes it up"
    )
