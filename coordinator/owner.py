"""Owner tokens: who drives a transaction (PROTOCOL §9). Pure.

A driver's is `<instance>/<start>/<counter>`. A Go server that shares the database leaves owners of its own in
rows that nobody drives; none of those has a slash.
"""

from typing import Final

SEPARATOR: Final = "/"  # what tells a driver's token, in SQL as well


def prefix_of(instance: str, start: str = "") -> str:
    """How all the tokens of an instance begin; with `start`, those of one run of it."""
    return SEPARATOR.join((instance, start, "") if start else (instance, ""))


def is_a_drivers(owner: str) -> bool:
    """Whether one of our coordinators drives a row that has this owner, or did when it died."""
    return SEPARATOR in owner
