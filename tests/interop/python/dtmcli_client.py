"""Every transaction type of the PyPI package dtmcli, against a branch service that uses its barrier."""

import json
import os
import threading
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pymysql
from dtmcli import barrier, msg, saga, tcc, utils

from tests.interop.python.cases import API, case, ends, main, new_account, query, status

MYSQL = urllib.parse.urlsplit(os.environ["INTEROP_MYSQL"])
START = 100
DONE = "01 compensate prepared, 01 action succeed, 02 compensate prepared, 02 action succeed"
UNDONE = "01 compensate succeed, 01 action succeed, 02 compensate succeed, 02 action failed"
CONFIRMED = "01 cancel prepared, 01 confirm succeed, 02 cancel prepared, 02 confirm succeed"
CANCELLED = "01 cancel succeed, 01 confirm prepared, 02 cancel succeed, 02 confirm prepared"

Cursor = Any  # pymysql's; the package hands it through


def connect() -> "pymysql.Connection[pymysql.cursors.Cursor]":
    return pymysql.connect(
        host=MYSQL.hostname or "",
        port=MYSQL.port or 0,
        user=MYSQL.username or "",
        password=MYSQL.password or "",
        database=MYSQL.path.strip("/"),
    )


def in_transaction(work: Callable[[Cursor], None]) -> None:
    """Run `work` with a cursor whose connection is closed afterwards; the package commits."""
    connection = connect()
    try:
        with connection.cursor() as cursor:
            work(cursor)
    finally:
        connection.close()


class Refused(utils.DTMFailureError):  # type: ignore[misc]  # the package has no types
    """The business says no."""


def change(cursor: Cursor, account: str, amount: int) -> None:
    text = "UPDATE account SET balance = balance + %s WHERE name = %s AND balance + %s >= 0"
    if cursor.execute(text, (amount, account, amount)) != 1:
        raise Refused("not enough money")


class Bank(BaseHTTPRequestHandler):
    """Branches: /move (saga, msg), /hold (tcc), /nested (tcc), /query (query-prepared)."""

    refused: set[tuple[str, str, str]] = set()  # gid, branch, op: says 409  # noqa: RUF012
    lost: set[tuple[str, str, str]] = set()  # does it, and says 500, once  # noqa: RUF012

    def do_POST(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        asked = dict(urllib.parse.parse_qsl(url.query))
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        key = (asked["gid"], asked["branch_id"], asked["op"])
        try:
            if key in Bank.refused:
                raise Refused("refused")
            getattr(self, url.path.strip("/"))(asked, body)
            code = 200
        except utils.DTMFailureError:
            code = 409
        except Exception as error:  # noqa: BLE001 - a branch service answers 500 to what it did not expect
            print(f"branch {self.path}: {error!r}")
            code = 500
        if key in Bank.lost:
            Bank.lost.discard(key)
            code = 500
        answer = b'{"dtm_result":"FAILURE"}' if code == 409 else b'{"dtm_result":"SUCCESS"}'
        self.send_response(code)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass

    def move(self, asked: dict[str, str], body: dict[str, Any]) -> None:
        amount = -body["amount"] if asked["op"] == "compensate" else body["amount"]
        guard = barrier.BranchBarrier(asked["trans_type"], asked["gid"], asked["branch_id"], asked["op"])
        in_transaction(lambda cursor: guard.call(cursor, lambda it: change(it, body["account"], amount)))

    def hold(self, asked: dict[str, str], body: dict[str, Any]) -> None:
        amount, account = body["amount"], body["account"]
        text = {
            "try": "held = held + %s",
            "confirm": "balance = balance + held, held = held - %s",
            "cancel": "held = held - %s",
        }[asked["op"]]

        def business(cursor: Cursor) -> None:
            cursor.execute(f"UPDATE account SET {text} WHERE name = %s", (amount, account))

        guard = barrier.BranchBarrier(asked["trans_type"], asked["gid"], asked["branch_id"], asked["op"])
        in_transaction(lambda cursor: guard.call(cursor, business))

    def nested(self, asked: dict[str, str], body: dict[str, Any]) -> None:
        self.hold(asked, body)
        if asked["op"] == "try":
            inner = tcc.tcc_from_req(API, asked["gid"], asked["branch_id"])
            inner.call_branch(body["inner"], url("hold"), url("hold"), url("hold"))

    def query(self, asked: dict[str, str], _body: dict[str, Any]) -> None:
        guard = barrier.BranchBarrier(asked["trans_type"], asked["gid"], asked["branch_id"], asked["op"])
        in_transaction(guard.query_prepared)


server = ThreadingHTTPServer(("127.0.0.1", 0), Bank)


def url(path: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{path}"


def opened(kind: str) -> str:
    account = new_account(kind)
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO account (name, balance, held) VALUES (%s, %s, 0)", (account, START))
        connection.commit()
    return account


def has(account: str, expected: int) -> None:
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT balance, held FROM account WHERE name = %s", (account,))
        assert cursor.fetchone() == (expected, 0)


def transfer(gid: str) -> tuple[Any, str, str]:
    source, target = opened("from"), opened("to")
    it = saga.Saga(API, gid)
    it.trans_base.wait_result = True
    it.add({"account": source, "amount": -30}, url("move"), url("move"))
    it.add({"account": target, "amount": 30}, url("move"), url("move"))
    return it, source, target


@case("saga", "http")
def saga_succeeds() -> None:
    gid = utils.gen_gid(API)
    it, source, target = transfer(gid)
    it.submit()
    ends(gid, "succeed", DONE)
    has(source, 70)
    has(target, 130)


@case("saga: rolled back", "http")
def saga_rolled_back() -> None:
    gid = utils.gen_gid(API)
    it, source, target = transfer(gid)
    Bank.refused.add((gid, "02", "action"))
    try:
        it.submit()
    except utils.DTMFailureError:
        pass
    else:
        raise AssertionError("submit should have said FAILURE")
    ends(gid, "failed", UNDONE)
    has(source, 100)
    has(target, 100)


@case("saga: answer lost, barrier", "http")
def saga_answer_lost() -> None:
    gid = utils.gen_gid(API)
    it, source, target = transfer(gid)
    it.trans_base.wait_result = False
    Bank.lost.add((gid, "01", "action"))
    it.submit()
    ends(gid, "succeed", DONE, nudged=True)
    has(source, 70)
    has(target, 130)


def tcc_transfer(it: Any, source: str, target: str) -> None:
    it.call_branch({"account": source, "amount": -30}, url("hold"), url("hold"), url("hold"))
    it.call_branch({"account": target, "amount": 30}, url("hold"), url("hold"), url("hold"))


@case("tcc", "http")
def tcc_succeeds() -> None:
    gid = utils.gen_gid(API)
    source, target = opened("from"), opened("to")
    assert tcc.tcc_global_transaction(API, gid, lambda it: tcc_transfer(it, source, target)) == gid
    ends(gid, "succeed", CONFIRMED)
    has(source, 70)
    has(target, 130)


@case("tcc: try refused", "http")
def tcc_refused() -> None:
    gid = utils.gen_gid(API)
    source, target = opened("from"), opened("to")
    Bank.refused.add((gid, "02", "try"))
    assert tcc.tcc_global_transaction(API, gid, lambda it: tcc_transfer(it, source, target)) == ""
    ends(gid, "failed", CANCELLED)
    has(source, 100)
    has(target, 100)


@case("tcc: nested", "http")
def tcc_nested() -> None:
    gid = utils.gen_gid(API)
    source, target = opened("from"), opened("to")
    body = {"account": source, "amount": -30, "inner": {"account": target, "amount": 30}}
    tcc.tcc_global_transaction(
        API, gid, lambda it: it.call_branch(body, url("nested"), url("hold"), url("hold"))
    )
    ends(gid, "succeed", "01 cancel prepared, 01 confirm succeed, 0101 cancel prepared, 0101 confirm succeed")
    has(source, 70)
    has(target, 130)


def message(gid: str) -> tuple[Any, str, str]:
    source, target = opened("from"), opened("to")
    it = msg.Msg(API, gid)
    it.set_wait_result()
    it.add({"account": target, "amount": 30}, url("move"))
    return it, source, target


@case("msg: do_and_submit_db", "http")
def msg_sent() -> None:
    gid = utils.gen_gid(API)
    it, source, target = message(gid)
    in_transaction(
        lambda cursor: it.do_and_submit_db(url("query"), cursor, lambda inner: change(inner, source, -30))
    )
    ends(gid, "succeed", "01 action succeed")
    has(source, 70)
    has(target, 130)


@case("msg: do_and_submit_db, refused by the business", "http")
def msg_refused() -> None:
    gid = utils.gen_gid(API)
    it, source, target = message(gid)
    try:
        in_transaction(
            lambda cursor: it.do_and_submit_db(
                url("query"), cursor, lambda inner: change(inner, source, -300)
            )
        )
    except Refused:
        pass
    else:
        raise AssertionError("the business's own refusal should come through")
    ends(gid, "failed", "01 action prepared")
    has(source, 100)
    has(target, 100)


@case("msg: query-prepared says committed", "http")
def msg_committed() -> None:
    gid = utils.gen_gid(API)
    it, source, target = message(gid)
    it.trans_base.timeout_to_fail = 1
    it.prepare(url("query"))
    guard = barrier.BranchBarrier("msg", gid, "00", "msg")
    in_transaction(lambda cursor: guard.call(cursor, lambda inner: change(inner, source, -30)))
    ends(gid, "succeed", "01 action succeed", nudged=True)
    has(source, 70)
    has(target, 130)


@case("msg: query-prepared says rolled back", "http")
def msg_rolled_back() -> None:
    gid = utils.gen_gid(API)
    it, source, target = message(gid)
    it.trans_base.timeout_to_fail = 1
    it.prepare(url("query"))
    assert status(gid) == "prepared"
    ends(gid, "failed", "01 action prepared", nudged=True)
    has(source, 100)
    has(target, 100)
    assert query(gid)["transaction"]["query_prepared"] == url("query")


if __name__ == "__main__":
    threading.Thread(target=server.serve_forever, daemon=True).start()
    main()
