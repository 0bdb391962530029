"""Endpoints that stand in the target itself: `direct:///h1:8080,h2:8080`."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from coordinator.discovery.target import Target, parse_target

_TARGETS_REMEMBERED_MAX: Final = 1024


class DirectResolver:
    """Takes the hosts from the target."""

    def __init__(self) -> None:
        self._parse = lru_cache(_TARGETS_REMEMBERED_MAX)(_hosts)

    async def endpoints(self, target: str) -> Sequence[str]:
        """Return the hosts as written."""
        return self._parse(target)

    async def close(self) -> None:
        """Nothing."""


def _hosts(target: str) -> tuple[str, ...]:
    parsed: Target = parse_target(target)
    return parsed.hosts
