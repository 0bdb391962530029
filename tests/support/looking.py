"""Looking at what another process does, which has no event for us."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from tests.support.patience import PATIENCE
from tests.support.under_test import CoordinatorProcess


def readiness(process: CoordinatorProcess) -> dict[str, Any]:
    """Return what /api/ready says: `{"ready": …, "problems": {part: why}, "remarks": …}`. Blocks."""
    try:
        with urllib.request.urlopen(f"{process.http_url}/api/ready", timeout=5) as response:
            said: dict[str, Any] = json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            said = json.load(error)
    return said


def until(condition: Callable[[], object], seconds: float) -> None:
    """Return once the condition holds; fail after so many seconds. Blocks."""
    deadline = time.monotonic() + seconds * PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
