"""The codes that are no situation of the run-book: each is planted, found, and solved as it advises."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.explain.codes import CODES
from tests.support.certificates import Authority
from tests.support.looking import until
from tests.support.planted import SECONDS, World, planted_world
from tests.support.servers import PostgresDatabase
from tests.support.under_test import ROOT

AHEAD = """
import coordinator.clock

class Ahead(coordinator.clock.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + coordinator.clock.timedelta(seconds=61)

coordinator.clock.datetime = Ahead
"""


def is_found(world: World, code: str) -> None:
    seen = ""

    def is_seen() -> bool:
        nonlocal seen
        seen = world.code("g")
        return seen == code

    try:
        until(is_seen, SECONDS)
    except AssertionError:
        pytest.fail(f"{seen} instead of {code}: {world.dtm('show', 'g').output}")
    said = world.dtm("why", "g")
    assert CODES[code].what_to_do.replace("GID", "g")[:40] in " ".join(said.output.split())


def run(world: World, *words: str) -> None:
    done = world.dtm(*words)
    assert done.exit_code == 0, done.output


def retried(world: World) -> None:
    done = world.dtm("retry", "g")  # or its own time came before
    assert done.exit_code == 0 or "it is succeed already" in done.output, done.output


def ends(world: World, status: str = "succeed") -> None:
    until(lambda: world.status("g") == status, SECONDS)


def test_w05_waits_for_a_place_until_calls_end(tmp_path: Path) -> None:
    with planted_world(tmp_path, EndpointConcurrencyMax=1) as world:
        world.submit("others", (f"{world.service.url}/hang", ""), request_timeout=60)
        world.submit("g", (f"{world.service.url}/200", ""))
        is_found(world, "W05")
        world.service.mended.set()
        ends(world)


def test_w07_nobody_takes_it_up_until_a_coordinator_looks(tmp_path: Path) -> None:
    with planted_world(tmp_path, TransCronInterval=600) as world:
        message = {"gid": "g", "trans_type": "msg", "query_prepared": f"{world.service.url}/200"}
        steps = {"steps": [{"action": f"{world.service.url}/200"}], "payloads": ["{}"]}
        assert world.coordinator.post("prepare", {**message, **steps})[0] == 200
        for column in ("create_time", "next_cron_time"):
            world.write(f"UPDATE trans_global SET {column} = '2020-01-01 00:00:00' WHERE gid = 'g'")
        is_found(world, "W07")
        for command in ("nodes", "doctor"):
            run(world, command)
        world.restart(TransCronInterval=1)
        ends(world)


def test_w13_tls_fails_until_the_certificate_is_trusted(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with planted_world(tmp_path, certificate=authority.issue("service.pem")) as world:
        world.submit("g", (f"{world.service.url}/200", ""))
        is_found(world, "W13")
        world.restart(Branches={"CaFile": str(authority.file)})
        retried(world)
        ends(world)


def test_w16_a_name_that_leads_nowhere_can_be_rolled_back(tmp_path: Path) -> None:
    with planted_world(tmp_path) as world:
        world.submit("g", ("http://nowhere.invalid/200", f"{world.service.url}/200"))
        is_found(world, "W16")
        run(world, "retry", "g")  # nobody has corrected the name
        assert world.code("g") in ("W16", "W01")
        run(world, "rollback", "g", "--yes", "--reason", "by the book")


def test_w19_an_answer_that_breaks_off_is_whole_again(tmp_path: Path) -> None:
    with planted_world(tmp_path) as world:
        world.submit("g", (f"{world.service.url}/cut", ""))
        is_found(world, "W19")
        world.service.mended.set()
        retried(world)
        ends(world)


def test_w31_clocks_are_apart_until_they_are_set(postgres_database: PostgresDatabase, tmp_path: Path) -> None:
    """This machine's clock is a minute ahead of the database's."""
    ahead = tmp_path / "ahead"
    ahead.mkdir()
    (ahead / "sitecustomize.py").write_text(AHEAD, encoding="utf-8")
    path = {"PYTHONPATH": f"{ahead}:{ROOT}"}
    with planted_world(tmp_path, store=postgres_database, environment=path) as world:
        workflow = {
            "gid": "g",
            "trans_type": "workflow",
            "custom_data": '{"name":"book","data":"e30="}',
            "query_prepared": f"{world.service.url}/200",
            "retry_interval": 600,
        }
        assert world.coordinator.post("prepareWorkflow", workflow)[0] == 200
        is_found(world, "W31")
        shutil.rmtree(ahead)
        world.restart()
        until(lambda: world.code("g") == "W04", SECONDS)  # its client's turn


def test_w32_a_place_that_is_not_allowed_is_called_once_it_is_named(tmp_path: Path) -> None:
    with planted_world(tmp_path) as world:
        world.submit("g", (f"{world.service.url}/503", ""))
        until(lambda: world.code("g") == "W15", SECONDS)
        world.restart(Branches={"Allow": "10.0.0.0/8"})
        is_found(world, "W32")
        world.service.mended.set()
        world.restart(Branches={"Allow": "10.0.0.0/8, 127.0.0.1"})
        retried(world)
        ends(world)


def stopped(world: World) -> None:
    run(world, "plan", "g", "--stop")
    run(world, "stop", "g", "--yes", "--reason", "by the book")
    ends(world, "failed")


def put_right(world: World) -> None:
    world.write("UPDATE trans_global SET trans_type = 'saga' WHERE gid = 'g'")
    world.service.mended.set()
    retried(world)
    ends(world)


@pytest.mark.parametrize("solved", [put_right, stopped])
def test_w33_rows_that_no_rule_explains_are_put_right_or_stopped(
    tmp_path: Path, solved: Callable[[World], None]
) -> None:
    with planted_world(tmp_path) as world:
        world.submit("g", (f"{world.service.url}/503", ""))
        until(lambda: world.code("g") == "W15", SECONDS)
        world.write("UPDATE trans_global SET trans_type = 'strange' WHERE gid = 'g'")
        is_found(world, "W33")
        run(world, "show", "g")
        solved(world)


def skipped(world: World) -> None:
    run(world, "skip", "g", "01", "--it-happened-outside", "--yes", "--reason", "booked by hand")
    ends(world)


def rolled_back(world: World) -> None:
    run(world, "plan", "g", "--rollback")
    run(world, "rollback", "g", "--yes", "--reason", "by the book")
    ends(world, "failed")


@pytest.mark.parametrize("solved", [skipped, rolled_back])
def test_w34_what_cannot_be_called_is_gone_on_without_or_rolled_back(
    tmp_path: Path, solved: Callable[[World], None]
) -> None:
    with planted_world(tmp_path) as world:
        world.submit("g", (f"{world.service.url}/503", f"{world.service.url}/200"))
        until(lambda: world.code("g") == "W15", SECONDS)
        world.write("UPDATE trans_branch_op SET url = 'http://[broken/do' WHERE gid = 'g' AND op = 'action'")
        run(world, "retry", "g")
        is_found(world, "W34")
        world.service.mended.set()
        solved(world)
