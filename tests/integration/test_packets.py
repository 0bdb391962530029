"""Several statements in one packet: no value is read as one, whatever the session's mode says of quotes."""

import contextlib

import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysql.constants import CLIENT

from coordinator.store.statements_mysql import bytes_literal, text_literal
from tests.support.servers import Database

MODES = ["", "ANSI", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "ORACLE", "MSSQL", "TRADITIONAL"]
PIECES = [
    "'",
    '"',
    "\\",
    ";",
    "\0",
    "\x1a",
    "\n",
    "--",
    "/*",
    "*/",
    "#",
    "COMMIT",
    "x'00'",
    "`",
    "\u00bf'",
    "é",
]

hostile = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=8).map("".join)


@pytest.mark.parametrize("mode", MODES)
def test_a_hostile_value_stays_a_value(mode: str, mariadb_database: Database) -> None:
    connection = pymysql.connect(
        host=mariadb_database.host,
        port=mariadb_database.port,
        user=mariadb_database.user,
        password=mariadb_database.password,
        charset="utf8mb4",
        client_flag=CLIENT.MULTI_STATEMENTS,
        init_command=f"SET SESSION sql_mode = '{mode}'",
    )

    @given(st.lists(hostile, min_size=1, max_size=4))
    def check(values: list[str]) -> None:
        encodable = [value.encode("utf-8", "ignore").decode() for value in values]
        texts = ", ".join(text_literal(value) for value in encodable)
        payloads = ", ".join(bytes_literal(value.encode()) for value in encodable)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {texts};SELECT {payloads};COMMIT".encode())
            assert list(cursor.fetchone() or ()) == encodable
            cursor.nextset()
            assert list(cursor.fetchone() or ()) == [value.encode() for value in encodable]
            cursor.nextset()
            assert not cursor.nextset(), "three statements were sent, and no more were found"

    with contextlib.closing(connection):
        check()
