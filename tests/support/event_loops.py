"""pytest hooks: which event loop a coroutine test runs on, how long it may take, and what runs first."""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pytest_asyncio import is_async_test

from tests.support.order import in_order
from tests.support.patience import PATIENCE

TESTS = Path(__file__).resolve().parents[1]
LOOP = "_asyncio_loop_factory"  # what pytest-asyncio calls the parameter
GRACE_SECONDS = 20  # for a coroutine test that does not react to cancellation

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class DebugEventLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop in debug mode, whatever the runner says."""

    def set_debug(self, enabled: bool) -> None:
        """Stay in debug mode."""
        super().set_debug(True)


def _fast_loop() -> LoopFactory:
    try:
        import uvloop
    except ModuleNotFoundError:  # there is none on Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, LoopFactory]:
    """Run coroutine tests on uvloop, those in tests/unit also in asyncio's debug mode; see below."""
    if item.path.is_relative_to(TESTS / "unit"):
        return {"uvloop": _fast_loop(), "debug": DebugEventLoop}
    return {"uvloop": _fast_loop()}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what debug mode would only repeat, order them, and bound every test."""
    repeated = _repeated_in_debug_mode(items)
    if repeated:
        config.hook.pytest_deselected(items=[item for item in items if item in repeated])
        items[:] = [item for item in items if item not in repeated]
    items[:] = in_order(items)
    default = float(config.getini("timeout"))
    for item in items:
        marker = item.get_closest_marker("timeout")
        seconds = PATIENCE * float(marker.args[0] if marker and marker.args else default)
        if is_async_test(item):
            _bound(item, seconds)
        else:
            item.add_marker(pytest.mark.timeout(seconds), append=False)


def _repeated_in_debug_mode(items: Iterable[pytest.Item]) -> set[pytest.Item]:
    """All but the first case of each test that has a table: how a loop is used does not depend on the row."""
    seen: set[str] = set()
    repeated = set()
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is None or callspec.params.get(LOOP) is not DebugEventLoop:
            continue
        test = item.nodeid.partition("[")[0]
        if test in seen:
            repeated.add(item)
        seen.add(test)
    return repeated


def _bound(item: pytest.Item, seconds: float) -> None:
    """Let a coroutine test end with TimeoutError where it hangs.

    pytest-timeout alone is not enough: its signal is lost in uvloop, and its thread ends the whole run.
    """
    function = item.obj  # type: ignore[attr-defined]
    if hasattr(function, "hypothesis"):
        function.hypothesis.inner_test = _within(seconds, function.hypothesis.inner_test)
    else:
        item.obj = _within(seconds, function)  # type: ignore[attr-defined]
    item.add_marker(pytest.mark.timeout(seconds + GRACE_SECONDS, method="thread"), append=False)


def _within(
    seconds: float, function: Callable[..., Coroutine[Any, Any, None]]
) -> Callable[..., Coroutine[Any, Any, None]]:
    @functools.wraps(function)
    async def bounded(*arguments: Any, **named: Any) -> None:
        async with asyncio.timeout(seconds):
            await function(*arguments, **named)

    return bounded
