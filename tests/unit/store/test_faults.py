"""What a driver's error means."""

import sqlite3

import asyncpg
import pymysql
import pytest
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import OperationalError

from coordinator.errors import Conflict, DtmError, Invalid
from coordinator.store.faults import Fault, Unsuited, error_number, fault_of, reason_of, refusal, sql_state


def sqlite_error(kind: type[sqlite3.Error], code: int) -> sqlite3.Error:
    error = kind("said SQLite")
    error.sqlite_errorcode = code
    return error


def postgres_error(state: str, words: str = "said PostgreSQL") -> Exception:
    """As SQLAlchemy hands on what asyncpg raises."""
    error = asyncpg.PostgresError.new({"C": state, "M": words})
    return AsyncAdapt_asyncpg_dbapi.Error(words, error)


def of_the_driver(error: Exception) -> Exception:
    """An error without a state, as SQLAlchemy hands it on."""
    wrapped = AsyncAdapt_asyncpg_dbapi.InterfaceError(str(error), error)
    wrapped.__cause__ = error
    return wrapped


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (pymysql.err.OperationalError(1213, "Deadlock found"), Fault.DEADLOCK),
        (pymysql.err.OperationalError(1205, "Lock wait timeout exceeded"), Fault.LOCKED),
        (pymysql.err.OperationalError(2013, "Lost connection"), Fault.AWAY),
        (pymysql.err.OperationalError(2006, "gone away"), Fault.AWAY),
        (pymysql.err.OperationalError(1290, "--read-only"), Fault.AWAY),
        (pymysql.err.OperationalError(1836, "Running in read-only mode"), Fault.AWAY),
        (pymysql.err.OperationalError(1792, "READ ONLY transaction"), Fault.AWAY),
        (pymysql.err.OperationalError(1040, "Too many connections"), Fault.AWAY),
        (pymysql.err.InterfaceError("Not connected"), Fault.AWAY),
        (pymysql.err.InterfaceError(0, "Not connected"), Fault.AWAY),
        (pymysql.err.InternalError("Packet sequence number wrong - got 2 expected 1"), Fault.AWAY),
        (ConnectionResetError("reset"), Fault.AWAY),
        (TimeoutError(), Fault.AWAY),
        (pymysql.err.IntegrityError(1062, "Duplicate entry"), Fault.DUPLICATE),
        (pymysql.err.DataError(1406, "Data too long for column 'url'"), Fault.REFUSED),
        (pymysql.err.OperationalError(1366, "Incorrect string value"), Fault.REFUSED),
        (pymysql.err.ProgrammingError(1146, "Table doesn't exist"), Fault.REFUSED),
        ("\ud800", Fault.REFUSED),
        (sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_BUSY), Fault.DEADLOCK),
        (sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_FULL), Fault.AWAY),
        (sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_IOERR_FSYNC), Fault.AWAY),
        (sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_ERROR), Fault.REFUSED),
        (sqlite_error(sqlite3.IntegrityError, sqlite3.SQLITE_CONSTRAINT_UNIQUE), Fault.DUPLICATE),
        *[
            (postgres_error(state), fault)
            for states, fault in (
                ("40P01 40001", Fault.DEADLOCK),
                ("55P03", Fault.LOCKED),
                ("23505", Fault.DUPLICATE),
                ("57P01 57P02 57P03 53100 53300 08006 08003 25006 25P03 40003 57014 58030 XX000", Fault.AWAY),
                ("22021 22001 22P05 23502 42P01 42501 28P01 3D000", Fault.REFUSED),
            )
            for state in states.split()
        ],
        (of_the_driver(asyncpg.InterfaceError("connection is closed")), Fault.AWAY),
        (of_the_driver(asyncpg.InternalClientError("got result for unknown protocol state")), Fault.AWAY),
        (of_the_driver(asyncpg.exceptions._base.DataError("invalid input for $1")), Fault.REFUSED),
        (asyncpg.CannotConnectNowError("the database system is starting up"), Fault.AWAY),
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), Fault.REFUSED),
    ],
)
def test_fault(error: Exception | str, fault: Fault) -> None:
    if isinstance(error, str):
        with pytest.raises(UnicodeEncodeError) as caught:
            error.encode()
        error = caught.value
    assert fault_of(error) is fault
    assert fault_of(OperationalError("INSERT", (), error)) is fault  # the same, wrapped by SQLAlchemy


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (pymysql.err.DataError(1406, "Data too long for column 'url'"), Invalid, "column 'url'"),
        (pymysql.err.OperationalError(1366, "Incorrect string value"), Invalid, "Incorrect string"),
        (pymysql.err.IntegrityError(1062, "Duplicate entry 'x'"), Conflict, "Duplicate entry 'x'"),
        (pymysql.err.ProgrammingError(1146, "Table 'dtm.kv' doesn't exist"), Unsuited, "dtm.kv"),
        (postgres_error("22001", "value too long"), Invalid, "value too long"),
        (postgres_error("23505", "duplicate key 'x'"), Conflict, "duplicate key 'x'"),
        (postgres_error("42P01", 'relation "kv" does not exist'), Unsuited, '"kv"'),
        (of_the_driver(asyncpg.exceptions._base.DataError("invalid input for $1")), Invalid, "for $1"),
    ],
)
def test_the_caller_is_told_what_was_wrong(error: Exception, kind: type[DtmError], words: str) -> None:
    refused = refusal(OperationalError("INSERT", (), error))
    assert type(refused) is kind
    assert words in refused.message


def test_reasons_are_one_line() -> None:
    assert reason_of(pymysql.err.OperationalError(2003, "Can't connect\n  to it")) == "Can't connect to it"
    assert reason_of(TimeoutError()) == "it did not answer in time"
    assert error_number(pymysql.err.OperationalError(2003, "")) == 2003
    assert error_number(OSError(111, "refused")) == 0
    assert sql_state(postgres_error("28P01")) == "28P01"
    assert sql_state(OSError(111, "refused")) == ""
