"""`dtm user`: people added and changed on the server's own machine, on every store, each with its record."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from coordinator.cli.main import main
from tests.integration.test_access import audit
from tests.support.servers import Database
from tests.support.under_test import CoordinatorProcess

GOOD = "four words, none alike\n"


def dtm(coordinator: CoordinatorProcess, *words: str, typed: str = "") -> Result:
    """`dtm user …` with the coordinator's configuration."""
    return CliRunner().invoke(main, ["user", *words, "-c", str(coordinator.configuration_file)], input=typed)


def fine(coordinator: CoordinatorProcess, *words: str, typed: str = "") -> str:
    result = dtm(coordinator, *words, typed=typed)
    assert (result.exit_code, result.stderr) == (0, ""), words
    return result.stdout


@pytest.fixture(params=["sqlite", "mariadb", "postgres"])
def coordinator(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CoordinatorProcess]:
    store: Database | None = None
    if request.param != "sqlite":
        store = request.getfixturevalue(f"{request.param}_database")
    process = CoordinatorProcess(tmp_path / "one", store=store)
    yield process
    process.close()


def test_the_life_of_somebody(coordinator: CoordinatorProcess) -> None:
    fine(coordinator, "add", "Anna", "--role", "operator", typed=GOOD)
    fine(coordinator, "add", "ben@shop.example", "--role", "viewer", typed=GOOD)
    again = dtm(coordinator, "add", "anna", "--role", "admin", typed=GOOD)
    assert again.exit_code == 1
    assert "somebody is called anna already" in again.stderr
    fine(coordinator, "role", "anna", "admin")
    fine(coordinator, "password", "anna", typed="another one, also good\n")
    fine(coordinator, "disable", "ben@shop.example")
    shown = fine(coordinator, "list")
    assert re.search(r"^admin +enabled +20\d\d-\S+ \S+ +- +0  anna$", shown, re.M)
    assert re.search(r"^viewer +disabled .* ben@shop.example$", shown, re.M)
    fine(coordinator, "enable", "ben@shop.example")
    fine(coordinator, "remove", "anna")
    lines = audit(coordinator)
    assert [(line["action"], line["target"], line["was"], line["became"]) for line in lines] == [
        ("user add", "anna", "", "role operator"),
        ("user add", "ben@shop.example", "", "role viewer"),
        ("user role", "anna", "operator", "admin"),
        ("user password", "anna", "", ""),
        ("user disable", "ben@shop.example", "enabled", "disabled"),
        ("user enable", "ben@shop.example", "disabled", "enabled"),
        ("user remove", "anna", "role admin", "removed"),
    ]
    assert {line["method"] for line in lines} == {"command"}
    assert "four words" not in f"{lines}"
    assert [line for line in fine(coordinator, "list").splitlines() if "anna" in line] == []


@pytest.mark.parametrize(
    ("words", "typed", "problem"),
    [
        (
            ("add", "anna", "--role", "viewer"),
            "short\n",
            "a password has at least 12 characters, this one has 5",
        ),
        (("add", "anna", "--role", "viewer"), "", "a password has at least 12 characters, this one has 0"),
        (("add", "a b", "--role", "viewer"), GOOD, "name: has 1 to 64"),
        (("add", "anna", "--role", "service"), GOOD, "'service' is not one of"),
        (("add", "anna"), GOOD, "Missing option '--role'"),
        (("add", "anna", "--role", "viewer", "--password", "x"), GOOD, "No such option"),
        (("remove", "zoe"), "", "nobody is called zoe"),
        (("password", "zoe"), GOOD, "nobody is called zoe"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, words: tuple[str, ...], typed: str, problem: str
) -> None:
    process = CoordinatorProcess(tmp_path)
    refused = dtm(process, *words, typed=typed)
    assert refused.exit_code != 0
    assert problem in refused.stderr
    assert fine(process, "list").splitlines()[1:] == []
    process.close()
