"""Values in the text of MySQL statements, and how statements are cut. Round trips: tests/integration."""

import re

from hypothesis import given
from hypothesis import strategies as st

from coordinator.store.statements_mysql import MySQLStatements, bytes_literal, text_literal


class Recorder:
    """A cursor that keeps what it is given."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def execute(self, statement: bytes, parameters: object = None, /) -> None:
        assert parameters is None
        self.statements.append(statement.decode())

    def executemany(self, statement: str, parameters: object, /) -> None:
        raise AssertionError("MySQL gets many rows in one statement")

    def fetchall(self) -> list[tuple[str, str, str]]:
        return []


def test_plain_text_stands_as_it_is() -> None:
    assert text_literal("http://host/a?b=1&c=ü") == "'http://host/a?b=1&c=ü'"
    assert text_literal("") == "''"


def test_text_that_could_end_a_string_is_written_in_digits() -> None:
    assert text_literal("it's") == "_utf8mb4 x'69742773'"
    assert text_literal("a\\") == "_utf8mb4 x'615c'"
    assert bytes_literal(b"\x00'\\") == "x'00275c'"
    assert bytes_literal(b"") == "x''"


@given(st.text())
def test_no_text_ends_its_literal_whatever_the_sql_mode(text: str) -> None:
    inner = re.fullmatch(r"(_utf8mb4 x)?'([^'\\]*)'", text_literal(text), re.DOTALL)
    assert inner is not None
    assert (bytes.fromhex(inner[2]).decode() if inner[1] else inner[2]) == text


def test_results_name_exactly_their_branches() -> None:
    cursor = Recorder()
    keys = [("g1", "01", "action"), ("g2", "02", "action"), ("g3", "01", "action")]
    MySQLStatements(skip_locked=True, packets=True).record_results(
        cursor, "succeed", keys, "2026-01-01 00:00:00"
    )
    [statement] = cursor.statements
    assert statement.split("WHERE ")[1] == (
        "(branch_id = '01' AND op = 'action' AND gid IN ('g1','g3'))"
        " OR (branch_id = '02' AND op = 'action' AND gid IN ('g2'))"
    )


def test_long_rows_are_cut_into_several_statements() -> None:
    cursor = Recorder()
    rows = [("g", "url", b"x" * 60_000, f"{n:02d}", "action", "prepared") for n in range(50)]
    MySQLStatements(skip_locked=True, packets=True).insert_branches(cursor, rows, "2026-01-01 00:00:00")
    assert all(len(statement) < 2_000_000 for statement in cursor.statements)
    numbers = re.findall(r"'(\d\d)','action'", "".join(cursor.statements))
    assert numbers == [f"{n:02d}" for n in range(50)]


def test_many_rows_are_cut_into_several_statements() -> None:
    cursor = Recorder()
    rows = [("g", "", b"", f"{n}", "action", "prepared") for n in range(600)]
    MySQLStatements(skip_locked=True, packets=True).insert_branches(cursor, rows, "2026-01-01 00:00:00")
    assert [statement.count("'action'") for statement in cursor.statements] == [256, 256, 88]
