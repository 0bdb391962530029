"""PROTOCOL §14: a database that another coordinator of the protocol made and filled works as it is.

The tables are declared and the rows written here as that server does it; ours starts on them in place and
finishes what is unfinished.
"""

import time
from collections.abc import Mapping
from typing import Any

import pytest

from tests.conftest import StartCoordinator
from tests.support.servers import Database
from tests.support.under_test import CoordinatorProcess

# Written by hand from PROTOCOL §14, on purpose not by our own declarations.
TABLES = """
CREATE TABLE trans_global (
  id bigint(22) NOT NULL AUTO_INCREMENT PRIMARY KEY,
  gid varchar(128) NOT NULL, trans_type varchar(45) NOT NULL, status varchar(12) NOT NULL,
  query_prepared varchar(1024) NOT NULL, protocol varchar(45) NOT NULL,
  create_time datetime DEFAULT NULL, update_time datetime DEFAULT NULL,
  finish_time datetime DEFAULT NULL, rollback_time datetime DEFAULT NULL,
  options varchar(1024) DEFAULT '', custom_data varchar(1024) DEFAULT '',
  next_cron_interval int(11) DEFAULT NULL, next_cron_time datetime DEFAULT NULL,
  owner varchar(128) NOT NULL DEFAULT '', ext_data text, result varchar(1024) DEFAULT '',
  rollback_reason varchar(1024) DEFAULT '',
  UNIQUE KEY gid (gid), KEY owner (owner), KEY status_next_cron_time (status, next_cron_time)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE TABLE trans_branch_op (
  id bigint(22) NOT NULL AUTO_INCREMENT PRIMARY KEY,
  gid varchar(128) NOT NULL, url varchar(1024) NOT NULL, data text, bin_data blob,
  branch_id varchar(128) NOT NULL, op varchar(45) NOT NULL, status varchar(45) NOT NULL,
  finish_time datetime DEFAULT NULL, rollback_time datetime DEFAULT NULL,
  create_time datetime DEFAULT NULL, update_time datetime DEFAULT NULL,
  UNIQUE KEY gid_uniq (gid, branch_id, op)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE TABLE kv (
  id bigint(22) NOT NULL AUTO_INCREMENT PRIMARY KEY,
  cat varchar(45) NOT NULL, k varchar(128) NOT NULL, v text, version bigint(22) DEFAULT 1,
  create_time datetime DEFAULT NULL, update_time datetime DEFAULT NULL,
  UNIQUE KEY uniq_k (cat, k)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
"""

# gid: trans_type, status, what else of the row, branches as (branch_id, op, status), how it must end.
Rows = tuple[str, str, Mapping[str, str], tuple[tuple[str, str, str], ...]]
UNFINISHED: dict[str, Rows] = {
    "saga-forward": (
        "saga",
        "submitted",
        {},
        (
            ("01", "compensate", "prepared"),
            ("01", "action", "succeed"),
            ("02", "compensate", "prepared"),
            ("02", "action", "prepared"),
        ),
    ),
    "saga-back": (
        "saga",
        "aborting",
        {"rollback_reason": "no money FAILURE"},
        (
            ("01", "compensate", "prepared"),
            ("01", "action", "succeed"),
            ("02", "compensate", "prepared"),
            ("02", "action", "failed"),
        ),
    ),
    "tcc-forgotten": ("tcc", "prepared", {}, (("01", "cancel", "prepared"), ("01", "confirm", "prepared"))),
    "xa-half": (
        "xa",
        "submitted",
        {},
        (
            ("01", "rollback", "prepared"),
            ("01", "commit", "succeed"),
            ("02", "rollback", "prepared"),
            ("02", "commit", "prepared"),
        ),
    ),
    "msg-asked": ("msg", "prepared", {"query": "yes"}, (("01", "action", "prepared"),)),
    "msg-late": ("msg", "submitted", {"custom_data": '{"delay":1}'}, (("01", "action", "prepared"),)),
}
ENDS = {
    "saga-forward": ("succeed", "prepared succeed prepared succeed"),
    "saga-back": ("failed", "succeed succeed succeed failed"),
    "tcc-forgotten": ("failed", "succeed prepared"),
    "xa-half": ("succeed", "prepared succeed prepared succeed"),
    "msg-asked": ("succeed", "succeed"),
    "msg-late": ("succeed", "succeed"),
}


def fill(database: Database, branch: str) -> None:
    """Write the rows as they stand five minutes after that server was stopped."""
    for gid, (trans_type, status, more, branches) in UNFINISHED.items():
        query = branch if "query" in more else ""
        database.execute(
            "INSERT INTO trans_global (gid, trans_type, status, query_prepared, protocol, create_time,"
            " update_time, options, custom_data, next_cron_interval, next_cron_time, owner, ext_data,"
            " rollback_reason) VALUES"
            f" ('{gid}', '{trans_type}', '{status}', '{query}', 'http', NOW() - INTERVAL 5 MINUTE,"
            f" NOW() - INTERVAL 5 MINUTE, '{{\"concurrent\":false}}', '{more.get('custom_data', '')}', 10,"
            f" NOW() - INTERVAL 4 MINUTE, 'Ab3xYz', '', '{more.get('rollback_reason', '')}')"
        )
        for branch_id, op, branch_status in branches:
            database.execute(
                "INSERT INTO trans_branch_op (gid, url, bin_data, branch_id, op, status, create_time,"
                f" update_time) VALUES ('{gid}', '{branch}', '{{}}', '{branch_id}', '{op}',"
                f" '{branch_status}', NOW() - INTERVAL 5 MINUTE, NOW() - INTERVAL 5 MINUTE)"
            )
    database.execute(
        "INSERT INTO kv (cat, k, v, version, create_time, update_time) VALUES"
        f' (\'topics\', \'news\', \'[{{"url":"{branch}","remark":""}}]\', 1, NOW(), NOW())'
    )


@pytest.fixture
def branch(start_coordinator: StartCoordinator) -> str:
    """A url that says 200 to everything: another coordinator's ping."""
    return f"{start_coordinator().http_url}/api/ping"


def test_what_another_server_left_unfinished_is_finished(
    mariadb_database: Database, start_coordinator: StartCoordinator, branch: str
) -> None:
    mariadb_database.execute(TABLES)
    fill(mariadb_database, branch)
    ours = start_coordinator(store=mariadb_database)
    ended = {gid: wait_until_final(ours, gid) for gid in UNFINISHED}
    assert {
        gid: (it["transaction"]["status"], " ".join(row["status"] for row in it["branches"]))
        for gid, it in ended.items()
    } == ENDS
    assert ended["saga-back"]["transaction"]["rollback_reason"] == "no money FAILURE"
    assert ended["tcc-forgotten"]["transaction"]["rollback_reason"] == "Timeout after 35 seconds"
    columns = mariadb_database.execute("SHOW COLUMNS FROM trans_global")
    assert len(columns) == 18, "the tables are never altered"


def test_a_topic_of_another_server_is_known(
    mariadb_database: Database, start_coordinator: StartCoordinator, branch: str
) -> None:
    mariadb_database.execute(TABLES)
    fill(mariadb_database, branch)
    ours = start_coordinator(store=mariadb_database)
    message = {
        "gid": "to-topic",
        "trans_type": "msg",
        "steps": [{"action": "topic://news"}],
        "payloads": ["{}"],
        "wait_result": True,
    }
    assert ours.post("submit", message)[0] == 200
    assert [row["url"] for row in ours.query("to-topic")["branches"]] == [branch]


def wait_until_final(coordinator: CoordinatorProcess, gid: str) -> dict[str, Any]:
    give_up = time.monotonic() + 30
    while True:
        found = coordinator.query(gid)
        if found["transaction"]["status"] in {"succeed", "failed"} or time.monotonic() > give_up:
            return found
        time.sleep(0.05)
