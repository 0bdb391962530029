"""Three things that go wrong, found and ended with commands alone, against a coordinator that runs."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from coordinator.cli.exits import Exit
from coordinator.cli.main import main
from tests.support.looking import until
from tests.support.ports import HOST, free_port
from tests.support.under_test import CoordinatorProcess


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[CoordinatorProcess]:
    process = CoordinatorProcess(tmp_path / "coordinator").start()
    yield process
    print(process.output())
    process.close()


def dtm(coordinator: CoordinatorProcess, *words: str, stdin: str | None = None) -> Result:
    environment = {**dict.fromkeys(os.environ), "DTM_URL": coordinator.http_url, "HOME": "/nowhere"}
    return CliRunner().invoke(main, words, env=environment, input=stdin)


def told(coordinator: CoordinatorProcess, *words: str) -> Any:
    done = dtm(coordinator, *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def saga(gid: str, *urls: str) -> str:
    steps = [{"action": url, "compensate": ""} for url in urls]
    return json.dumps({"gid": gid, "trans_type": "saga", "steps": steps, "payloads": ["{}"] * len(urls)})


def test_a_transaction_that_goes_well_is_submitted_and_watched(
    coordinator: CoordinatorProcess, tmp_path: Path
) -> None:
    file = tmp_path / "transaction.json"
    file.write_text(saga("", "", ""), encoding="utf-8")
    done = dtm(coordinator, "submit", str(file), "--watch", "--seconds", "20")
    assert done.exit_code == Exit.OK, done.output
    gid = done.stdout.splitlines()[0]
    assert told(coordinator, "why", gid)["code"] == "W40"
    assert [it["gid"] for it in told(coordinator, "ls", "status:succeed")] == [gid]


def test_a_transaction_that_is_stuck_is_found_explained_and_stopped(coordinator: CoordinatorProcess) -> None:
    nobody = f"http://{HOST}:{free_port()}/withdraw"
    assert dtm(coordinator, "submit", "-", stdin=saga("stuck", nobody, "")).exit_code == Exit.OK
    until(lambda: told(coordinator, "why", "stuck")["code"] == "W11", 20)
    assert [it["gid"] for it in told(coordinator, "ls", "status:submitted", 'error:"connect"')] == ["stuck"]
    assert [it["count"] for it in told(coordinator, "inbox")["groups"]] == [1]
    shown = dtm(coordinator, "show", "stuck")
    assert "withdraw" in shown.stdout
    assert "refused ×" in shown.stdout
    assert dtm(coordinator, "watch", "stuck", "--seconds", "0.1").exit_code == Exit.TIMED_OUT
    planned = told(coordinator, "plan", "stuck", "--stop")
    assert [it["fate"] for it in planned["effects"]] == ["may_stay", "not_called"]
    assert dtm(coordinator, "retry", "stuck", "--reason", "the service is back").exit_code == Exit.OK
    assert dtm(coordinator, "stop", "stuck", "--yes", "--reason", "wrong url").exit_code == Exit.OK
    assert dtm(coordinator, "watch", "stuck").exit_code == Exit.NOT_WELL
    assert told(coordinator, "why", "stuck")["code"] == "W42"
    assert "Left behind, to be put right by hand: 01." in dtm(coordinator, "show", "stuck").stdout
    assert dtm(coordinator, "stop", "stuck", "--yes", "--reason", "again").exit_code == Exit.REFUSED
    assert [(it["action"], it["reason"]) for it in told(coordinator, "audit")] == [
        ("stop", "wrong url"),
        ("retry", "the service is back"),
    ]


def test_one_that_cannot_go_on_is_rolled_back_or_goes_on_without_a_branch(
    coordinator: CoordinatorProcess,
) -> None:
    nobody = f"http://{HOST}:{free_port()}/withdraw"
    for gid in ("back", "on"):
        assert dtm(coordinator, "submit", "-", stdin=saga(gid, "", nobody)).exit_code == Exit.OK
        until(lambda gid=gid: told(coordinator, "why", gid)["code"] == "W11", 20)
    because = ("--yes", "--reason", "the url was wrong")
    assert dtm(coordinator, "rollback", "back", *because).exit_code == Exit.OK
    assert dtm(coordinator, "watch", "back", "--seconds", "20").exit_code == Exit.NOT_WELL
    assert told(coordinator, "why", "back")["code"] == "W41"
    assert dtm(coordinator, "rollback", "back", *because).exit_code == Exit.REFUSED
    assert dtm(coordinator, "skip", "on", "01", "--it-happened-outside", *because).exit_code == Exit.REFUSED
    assert dtm(coordinator, "skip", "on", "02", "--it-happened-outside", *because).exit_code == Exit.OK
    assert dtm(coordinator, "watch", "on", "--seconds", "20").exit_code == Exit.OK


def test_many_are_retried_and_stopped_at_once(coordinator: CoordinatorProcess) -> None:
    nobody = f"http://{HOST}:{free_port()}/pay"
    for gid in ("one", "two"):
        assert dtm(coordinator, "submit", "-", stdin=saga(gid, nobody)).exit_code == Exit.OK
    assert dtm(coordinator, "submit", "-", stdin=saga("done", "")).exit_code == Exit.OK
    plan = told(coordinator, "bulk", "stop", "gid:one", "gid:two", "gid:done", "--dry-run")
    assert (plan["count"], plan["eligible"]) == (3, 2)
    assert told(coordinator, "bulk", "list") == []
    because = ("--reason", "its service is gone")
    retried = dtm(coordinator, "bulk", "retry", "gid:one", "gid:two", *because)
    assert retried.exit_code == Exit.OK, retried.output
    assert "bulk job 1 is done: retry of 2" in retried.stdout
    job = told(coordinator, "bulk", "stop", "gid:one", "gid:two", "gid:done", "--yes", *because)
    assert (job["done"], job["not_eligible"]) == (2, 1)
    assert told(coordinator, "ls", "status:submitted") == []
    shown = dtm(coordinator, "bulk", "show", "2", "--result", "not_eligible")
    assert "it is succeed already" in shown.stdout
    assert [it["id"] for it in told(coordinator, "bulk", "list")] == [2, 1]
    assert dtm(coordinator, "bulk", "cancel", "2").exit_code == Exit.REFUSED
    assert dtm(coordinator, "bulk", "again", "2").exit_code == Exit.REFUSED
    records = [it for it in told(coordinator, "audit") if it["action"] == "stop"]
    assert {it["reason"] for it in records} == {"bulk job 2: its service is gone"}


def test_who_lives_is_listed_and_all_at_once_is_looked_at(coordinator: CoordinatorProcess) -> None:
    (node,) = told(coordinator, "nodes")
    assert node["is_alive"]
    top = dtm(coordinator, "top")
    assert top.exit_code == Exit.OK, top.output
    assert "Nothing is stuck." in top.stdout


def test_who_asks_for_nobody_is_told(coordinator: CoordinatorProcess) -> None:
    because = ("--yes", "--reason", "x")
    for words in (
        *(("show", "x"), ("why", "x"), ("watch", "x"), ("plan", "x", "--stop"), ("retry", "x")),
        *(
            ("stop", "x", *because),
            ("rollback", "x", *because),
            ("skip", "x", "01", "--must-not-happen", *because),
        ),
    ):
        assert dtm(coordinator, *words).exit_code == Exit.NOT_FOUND, words


def test_topics_are_made_listed_and_deleted(coordinator: CoordinatorProcess) -> None:
    assert dtm(coordinator, "topics", "subscribe", "orders", "http://mail:9000/send").exit_code == Exit.OK
    assert dtm(coordinator, "topics", "subscribe", "orders", "http://book:9000/keep").exit_code == Exit.OK
    (found,) = told(coordinator, "topics", "ls")
    assert [it["url"] for it in found["subscribers"]] == ["http://mail:9000/send", "http://book:9000/keep"]
    assert dtm(coordinator, "topics", "unsubscribe", "orders", "http://mail:9000/send").exit_code == Exit.OK
    assert dtm(coordinator, "topics", "delete", "orders", "--yes").exit_code == Exit.OK
    assert told(coordinator, "topics", "ls") == []


def test_the_doctor_says_what_is_well_and_what_is_not(coordinator: CoordinatorProcess) -> None:
    configuration = ("-c", str(coordinator.configuration_file))
    well = dtm(coordinator, "doctor", *configuration)
    assert well.exit_code == Exit.OK, well.output
    assert "store: " in well.stdout
    away = dtm(coordinator, "doctor", "--url", f"http://{HOST}:{free_port()}", "--json")
    assert away.exit_code == Exit.NOT_WELL
    (finding,) = json.loads(away.stdout)
    assert (finding["part"], finding["is_well"]) == ("coordinator", False)
    assert "cannot be reached" in finding["said"]
