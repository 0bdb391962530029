"""A coordinator whose console is not installed serves all the same, and says there what to install."""

import contextlib
import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.under_test import ROOT, CoordinatorProcess

MISSING = "import sys\nsys.modules[{!r}] = None\n"  # as if it were not installed


@pytest.mark.parametrize(
    ("library", "mode"),
    [("jinja2", "operators"), ("markupsafe", "off"), ("argon2", "operators"), ("jwt", "off")],
)
def test_it_serves_and_says_what_to_install(tmp_path: Path, library: str, mode: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(MISSING.format(library), encoding="utf-8")
    environment = {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    settings = {"AdminBasePath": "/dtm", "Access": {"Mode": mode}}
    process = CoordinatorProcess(tmp_path / "dtm", settings=settings, environment=environment)
    with contextlib.closing(process.start()) as coordinator:
        saga = {"gid": "g", "trans_type": "saga", "steps": [], "wait_result": True}
        assert coordinator.post("submit", saga)[0] == 200
        for path in ("/", "/login", "/dtm/"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(coordinator.http_url + path, timeout=30)
            with refused.value as answer:
                said = answer.read().decode()
            assert answer.code == 501
            assert f"needs {library}" in said and "pip install 'dtm-coordinator[console]'" in said
