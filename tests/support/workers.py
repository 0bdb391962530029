"""pytest hooks: how many processes share the tests, and what the garbage collector of each leaves alone."""

import gc
import os
from collections.abc import Generator

import pytest


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, which not every run has
def pytest_xdist_auto_num_workers() -> int:
    """Two processes more than there are cores: half of what the longest tests do is wait."""
    return len(os.sched_getaffinity(0)) + 2 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) + 2


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while tests are found, nor ever among them: thousands, which stay until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
