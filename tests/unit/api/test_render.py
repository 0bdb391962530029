"""Stored rows → JSON, field by field as the reference prints them (PROTOCOL §3)."""

import threading
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import orjson
import pytest

from coordinator.api.render import render_all, render_query, rendered
from coordinator.model import Branch, BranchStatus, Options, Status, Transaction
from coordinator.store.base import Stored

MOMENT = datetime(2026, 11, 23, 10, 0, 7, tzinfo=UTC)
EAST = timezone(timedelta(hours=8))

BRANCH = Branch(
    gid="g1",
    branch_id="01",
    op="action",
    url="http://b/ok",
    payload=b'{"amount":30}',
    status=BranchStatus.SUCCEED,
    create_time=MOMENT,
    update_time=MOMENT,
    finish_time=MOMENT,
    id=4,
)
TRANSACTION = Transaction(
    gid="g1",
    trans_type="saga",
    status=Status.SUCCEED,
    options=Options(wait_result=True),
    create_time=MOMENT,
    update_time=MOMENT,
    finish_time=MOMENT,
    next_cron_interval=10,
    next_cron_time=MOMENT,
    id=7,
)


def as_json(content: object) -> Any:
    return orjson.loads(orjson.dumps(content))


def test_a_succeeded_saga_with_a_branch() -> None:
    assert as_json(render_query(Stored(TRANSACTION, (BRANCH,)), EAST)) == {
        "transaction": {
            "id": 7,
            "create_time": "2026-11-23T18:00:07+08:00",
            "update_time": "2026-11-23T18:00:07+08:00",
            "gid": "g1",
            "trans_type": "saga",
            "status": "succeed",
            "protocol": "http",
            "finish_time": "2026-11-23T18:00:07+08:00",
            "options": '{"wait_result":true,"concurrent":false}',
            "next_cron_interval": 10,
            "next_cron_time": "2026-11-23T18:00:07+08:00",
            "concurrent": False,
        },
        "branches": [
            {
                "id": 4,
                "create_time": "2026-11-23T18:00:07+08:00",
                "update_time": "2026-11-23T18:00:07+08:00",
                "gid": "g1",
                "url": "http://b/ok",
                "bin_data": "eyJhbW91bnQiOjMwfQ==",
                "branch_id": "01",
                "op": "action",
                "status": "succeed",
                "finish_time": "2026-11-23T18:00:07+08:00",
            }
        ],
    }


def test_every_field_that_is_not_empty_is_shown() -> None:
    full = Transaction(
        gid="g1",
        trans_type="workflow",
        status=Status.FAILED,
        protocol="grpc",
        query_prepared="http://q",
        options=Options(concurrent=True),
        custom_data="{}",
        result="ZG9uZQ==",
        rollback_reason="because",
        rollback_time=MOMENT,
        owner="a/1/2",
        ext_data="more",
    )
    shown = as_json(render_query(Stored(full, ()), UTC))["transaction"]
    assert shown == {
        "id": 0,
        "create_time": "1970-01-01T00:00:00Z",
        "update_time": "1970-01-01T00:00:00Z",
        "gid": "g1",
        "trans_type": "workflow",
        "status": "failed",
        "query_prepared": "http://q",
        "protocol": "grpc",
        "rollback_time": "2026-11-23T10:00:07Z",
        "result": "ZG9uZQ==",
        "rollback_reason": "because",
        "options": '{"concurrent":true}',
        "custom_data": "{}",
        "next_cron_time": "1970-01-01T00:00:00Z",
        "owner": "a/1/2",
        "ext_data": "more",
        "concurrent": True,
    }


def test_a_branch_without_url_and_payload_leaves_them_out() -> None:
    bare = Branch(gid="g1", branch_id="01", op="action", url="", rollback_time=MOMENT)
    shown = as_json(render_query(Stored(TRANSACTION, (bare,)), UTC))["branches"][0]
    assert "url" not in shown
    assert "bin_data" not in shown
    assert shown["rollback_time"] == "2026-11-23T10:00:07Z"


def test_an_unknown_gid_is_null_without_branches() -> None:
    assert render_query(None, UTC) == {"transaction": None, "branches": []}


def test_nothing_found_is_an_empty_list_except_of_a_gid() -> None:
    """PROTOCOL §3."""
    assert render_all([], "", UTC) == {"transactions": [], "next_position": ""}
    assert render_all([], "", UTC, of_gid=True) == {"transactions": None, "next_position": ""}


def test_a_page_says_where_the_next_one_starts() -> None:
    page = render_all([TRANSACTION], "7", None)
    assert page["next_position"] == "7"
    assert page["transactions"][0]["gid"] == "g1"


def test_no_zone_is_that_of_the_process() -> None:
    shown = render_all([TRANSACTION], "", None)["transactions"][0]["create_time"]
    assert datetime.fromisoformat(shown) == MOMENT


def test_times_at_the_ends_of_the_calendar_do_not_break_a_page() -> None:
    odd = Transaction(
        gid="g1",
        trans_type="saga",
        status=Status.SUCCEED,
        create_time=datetime.min.replace(tzinfo=UTC),
        update_time=datetime.max.replace(tzinfo=UTC),
    )
    for zone in (EAST, timezone(timedelta(hours=-8))):
        shown = render_all([odd], "", zone)["transactions"][0]
        assert shown["create_time"].startswith("0001-")
        assert shown["update_time"].startswith("9999-")


@pytest.mark.parametrize(("count", "beside_the_loop"), [(0, False), (100, False), (101, True), (5000, True)])
async def test_a_transaction_of_many_branches_is_rendered_beside_the_event_loop(
    count: int, beside_the_loop: bool
) -> None:
    threads = []

    def render(stored: Stored, zone: tzinfo | None) -> dict[str, Any]:
        threads.append(threading.current_thread())
        return render_query(stored, zone)

    stored = Stored(TRANSACTION, (BRANCH,) * count)
    assert await rendered(render, stored, UTC) == render_query(stored, UTC)
    assert [thread is not threading.current_thread() for thread in threads] == [beside_the_loop]
