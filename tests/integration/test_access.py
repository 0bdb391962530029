"""Tokens against coordinators that run: made and revoked by `dtm token`, known to each within seconds."""

import asyncio
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from coordinator.cli.main import main
from coordinator.clock import SystemClock
from coordinator.config.read import load_settings
from coordinator.server.handed_out import store_config
from coordinator.store.open import open_store
from tests.support.looking import until
from tests.support.servers import Database
from tests.support.under_test import CoordinatorProcess

SAGA = {"trans_type": "saga", "steps": [{"action": "", "compensate": ""}], "payloads": ["{}"]}
REVOKED_SECONDS = 5.0
SOON = REVOKED_SECONDS + 3.0  # for a machine that is busy with other tests


def dtm(coordinator: CoordinatorProcess, *words: str) -> Result:
    """`dtm token …` with the coordinator's configuration, in this process: a new one takes seconds."""
    return CliRunner().invoke(main, ["token", *words, "-c", str(coordinator.configuration_file)])


def make_token(coordinator: CoordinatorProcess, role: str, *words: str) -> str:
    made = dtm(coordinator, "create", "--name", f"a {role}", "--role", role, *words)
    assert made.exit_code == 0, made.stderr
    return made.stdout.strip()


def ask(coordinator: CoordinatorProcess, call: str, token: str = "", body: Any = None) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{coordinator.http_url}{call}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def submit(coordinator: CoordinatorProcess, gid: str, token: str = "") -> int:
    return ask(coordinator, "/api/dtmsvr/submit", token, {"gid": gid, **SAGA})[0]


@pytest.fixture(params=["sqlite", "mariadb", "postgres"])
def coordinator(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CoordinatorProcess]:
    store: Database | None = None
    if request.param != "sqlite":
        store = request.getfixturevalue(f"{request.param}_database")
    process = CoordinatorProcess(tmp_path / "one", store=store, settings={"Access": {"Mode": "all"}})
    yield process
    print(process.output())
    process.close()


def test_the_life_of_a_token(coordinator: CoordinatorProcess) -> None:
    before = make_token(coordinator, "service")  # before anything runs: it makes the tables
    coordinator.start()
    made = make_token(coordinator, "service", "--gid-prefix", "shop-", "--days", "1")
    assert submit(coordinator, "shop-0") == 401
    assert submit(coordinator, "shop-1", made) == 200
    assert submit(coordinator, "other", made) == 403
    assert submit(coordinator, "other", before) == 200
    identifier = made.split("_")[1]

    def line() -> str:
        shown = dtm(coordinator, "list").stdout
        return next(line for line in shown.splitlines() if line.startswith(identifier))

    assert re.search(r"valid +service +20\d\d-\S+ \S+ +\S.* +shop- +a service$", line())
    until(lambda: not re.search(r" - +shop-", line()), 10)  # when it was used last
    assert made not in dtm(coordinator, "list").stdout
    revoked = dtm(coordinator, "revoke", identifier)
    assert (revoked.exit_code, revoked.stderr) == (0, "")
    until(lambda: submit(coordinator, "shop-2", made) == 401, SOON)
    assert submit(coordinator, "other-2", before) == 200
    assert " revoked " in line()
    again = dtm(coordinator, "revoke", identifier)
    assert again.exit_code == 1
    assert "no valid token has the id" in again.stderr


def test_who_did_what_is_recorded(coordinator: CoordinatorProcess) -> None:
    coordinator.start()
    token = make_token(coordinator, "admin")
    gid, slow = "shop-1", {"timeout_to_fail": 1000, "retry_interval": 1000}
    saga = {
        "gid": gid,
        "trans_type": "saga",
        "steps": [{"action": "http://127.0.0.1:1/x"}],
        "payloads": ["{}"],
    }
    assert ask(coordinator, "/api/dtmsvr/submit", token, {**saga, **slow})[0] == 200
    until(
        lambda: (
            ask(coordinator, f"/api/dtmsvr/query?gid={gid}", token)[1]["transaction"].get("owner", "") == ""
        ),
        10,
    )
    why = {"gid": gid, "reason": "wrong price; it's \\ gone"}
    assert ask(coordinator, "/api/dtmsvr/resetNextCronTime", token, {"gid": gid})[0] == 200
    assert ask(coordinator, "/api/dtmsvr/forceStop", "", why)[0] == 401
    assert ask(coordinator, "/api/dtmsvr/forceStop", token, why)[0] == 200
    assert ask(coordinator, "/api/dtmsvr/forceStop", token, why)[0] == 409
    assert ask(coordinator, "/api/dtmsvr/resetCronTime?timeout=9&reason=r", token)[0] == 200
    assert ask(coordinator, "/api/dtmsvr/subscribe?topic=t&url=http://a:1/b", token)[0] == 200
    assert ask(coordinator, "/api/dtmsvr/unsubscribe?topic=t&url=http://a:1/b", token)[0] == 200
    dtm(coordinator, "revoke", "000000000000")  # nobody's
    coordinator.stop()  # which writes what waits
    lines = audit(coordinator)
    found = [(line["action"], line["target"], line["was"], line["became"], line["outcome"]) for line in lines]
    assert found[0][:2] == ("token create", f"a admin ({token.split('_')[1]})")
    assert [one[0] for one in found[1:] if one[4] == "done"] == [
        *("retry", "stop", "retry many", "subscribe", "unsubscribe"),
    ]
    assert ("stop", gid, "submitted", "failed", "done") in found
    assert ("subscribe", "t", "", "http://a:1/b", "done") in found
    refused = [line for line in lines if line["outcome"].startswith("refused: ")]
    assert sorted(line["action"] for line in refused) == ["POST /api/dtmsvr/forceStop", "stop"]
    [stopped] = [line for line in lines if line["action"] == "stop" and line["outcome"] == "done"]
    assert (stopped["who"], stopped["address"], stopped["reason"]) == ("a admin", "127.0.0.1", why["reason"])
    assert stopped["method"] == f"token {token.split('_')[1]}"
    assert stopped["coordinator"].endswith(f"-{coordinator.http_port}")
    assert token not in str(lines)
    assert f"stop of {gid} by a admin" in coordinator.output()


def audit(coordinator: CoordinatorProcess) -> list[dict[str, Any]]:
    """The rows of dtm_audit, oldest first."""

    async def read() -> list[dict[str, Any]]:
        settings = load_settings(coordinator.configuration_file, {}).settings
        store = await open_store(
            store_config(settings, None), clock=SystemClock(), zone=None, wait_seconds=5.0
        )
        try:
            return list(reversed(await store.audit.latest(100)))
        finally:
            await store.close()

    return asyncio.run(read())


def test_one_coordinator_hears_of_what_was_revoked_beside_another(
    mariadb_database: Database, tmp_path: Path
) -> None:
    mode = {"Access": {"Mode": "operators"}}
    one = CoordinatorProcess(tmp_path / "one", store=mariadb_database, settings=mode)
    two = CoordinatorProcess(tmp_path / "two", store=mariadb_database, settings=mode)
    try:
        one.start()
        two.start()
        token = make_token(one, "viewer")
        for process in (one, two):
            assert submit(process, f"by-{process.http_port}") == 200  # what clients call goes on unchanged
            assert ask(process, "/api/dtmsvr/all")[0] == 401
            assert ask(process, "/api/dtmsvr/all", token)[0] == 200
        dtm(two, "revoke", token.split("_")[1])
        for process in (one, two):
            until(lambda process=process: ask(process, "/api/dtmsvr/all", token)[0] == 401, SOON)
    finally:
        print(one.output(), two.output())
        one.close()
        two.close()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--name", "x", "--role", "operator", "--gid-prefix", "a"), "is for the role service"),
        (("--name", " ", "--role", "viewer"), "name: must have 1 to 100 printable characters"),
        (("--name", "x", "--role", "service", "--gid-prefix", "a;b"), "gid prefix: has at most 64"),
        (("--name", "x", "--role", "root"), "'root' is not one of"),
        (("--name", "x", "--role", "viewer", "--days", "0"), "0 is not in the range"),
    ],
)
def test_a_token_that_makes_no_sense_is_refused(tmp_path: Path, words: tuple[str, ...], problem: str) -> None:
    process = CoordinatorProcess(tmp_path)
    refused = dtm(process, "create", *words)
    process.close()
    assert refused.exit_code != 0
    assert problem in refused.stderr
    assert not list(tmp_path.glob("dtm.db*"))


def test_where_the_tables_cannot_be_made_clients_go_on_and_people_are_told(
    mariadb_database: Database, tmp_path: Path
) -> None:
    maker = CoordinatorProcess(tmp_path / "maker", store=mariadb_database).start()
    maker.close()
    mariadb_database.execute("DROP TABLE dtm_token")
    user = f"poor_{mariadb_database.name}"
    mariadb_database.execute(f"CREATE USER {user}@'%'")
    for table in ("trans_global", "trans_branch_op", "kv", "dtm_node", "dtm_audit"):
        mariadb_database.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {user}")
    poor = CoordinatorProcess(
        tmp_path / "poor", store=mariadb_database, settings={"Access": {"Mode": "operators"}}
    )
    poor.configuration["Store"]["User"] = user
    poor.configuration_file.write_text(json.dumps(poor.configuration), encoding="utf-8")
    try:
        poor.start()
        assert submit(poor, "g1") == 200
        status, said = ask(poor, "/api/dtmsvr/all", "dtm_" + "0" * 12)
        assert (status, "cannot be looked up" in said["message"]) == (500, True)
        remarks = ask(poor, "/api/ready?verbose")[1]["remarks"]
        sql = remarks["tokens"].partition(" or: ")[2]
        assert sql.startswith("CREATE TABLE dtm_token (")
        refused = dtm(poor, "create", "--name", "x", "--role", "viewer")
        assert refused.exit_code == 1
        assert "CREATE TABLE dtm_token (" in refused.stderr
        mariadb_database.execute(sql)
        mariadb_database.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON dtm_token TO {user}")
        token = make_token(poor, "viewer")
        until(lambda: ask(poor, "/api/dtmsvr/all", token)[0] == 200, 10)
    finally:
        print(poor.output())
        poor.close()
