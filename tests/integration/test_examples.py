"""Each program of examples/ runs by itself against a coordinator on the embedded default, and says it all."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import Database
from tests.support.under_test import CoordinatorProcess

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"

# For each program the lines that it must print, in this order.
SAYS = {
    "saga_concurrent": ["booked", "  flight: compensate", "not booked, nothing is left behind: "],
    "saga_results": [
        "  bank: action     {'booking': 'B-journey-of-ann', 'amount': 60}",
        "ann has B-journey-of-ann",
        "  bank: action     {'booking': 'B-journey-of-bob', 'amount': 180}",
        "  hotel: compensate {'cancelled': 'B-journey-of-bob'}",
        "bob stays at home: account is empty",
    ],
    "tcc": ["  ann: confirm -30", "30: confirmed", "  ann: cancel  -300", "300: cancelled, because "],
    "msg": [
        "  mail: {'to': 'ann', 'order': 7}",
        "order 7: saved, and the mail is sent",
        "order 8: sold out, so no mail either",
        "orders: [7]",
    ],
    "topic": [
        "two subscribers:",
        "  stock: {'order': 7}",
        "one subscriber:",
        "  stock: {'order': 8}",
    ],
    "workflow": [
        "  score: commit",
        "{'id': 4711, 'welcome': 'ann'}",
        "  user: rollback",
        "bob is not registered: ",
    ],
    "workflow_trial": [
        "  account: action",
        "{'bill': 'ann-4', 'manual': 80000, 'slept': True}",
        "bob's trial sleeps",
        "  account: rollback",
        "bob's trial is cancelled: bob has called",
    ],
}


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorProcess]:
    process = CoordinatorProcess(tmp_path_factory.mktemp("examples")).start()
    yield process
    process.close()


def run(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def in_order(lines: list[str], output: str) -> None:
    place = 0
    for line in lines:
        found = output.find(line, place)
        assert found >= 0, f"{line!r} is missing, or comes too early, in:\n{output}"
        place = found + len(line)


@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs_and_says_what_happened(name: str, coordinator: CoordinatorProcess) -> None:
    done = run(name, DTM_URL=coordinator.http_url)
    assert (done.returncode, done.stderr) == (0, "")
    in_order(SAYS[name], done.stdout)


def test_the_xa_example_moves_money_on_mariadb(
    coordinator: CoordinatorProcess, mariadb_database: Database
) -> None:
    one = mariadb_database
    url = f"mysql://{one.user}@{one.host}:{one.port}/{one.name}"
    done = run("xa", DTM_URL=coordinator.http_url, XA_DATABASE=url)
    assert (done.returncode, done.stderr) == (0, "")
    in_order(
        [
            "30: committed",
            "[('ann', 70), ('bob', 30)]",
            "300: rolled back, because ",
            "[('ann', 70), ('bob', 30)]",
        ],
        done.stdout,
    )
    assert one.execute("XA RECOVER") == []


def test_the_xa_example_says_in_one_sentence_what_it_needs() -> None:
    done = run("xa", XA_DATABASE="")
    assert done.returncode == 1
    assert done.stderr.startswith("SQLite has no XA: set XA_DATABASE=mysql://")
    assert done.stderr.count("\n") == 1


def test_every_example_is_run_by_a_test() -> None:
    elsewhere = {"register_demo", "saga_http", "branch", "xa"}  # test_register.py, the documents, above
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*SAYS, *elsewhere}
