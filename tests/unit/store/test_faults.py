"""What a driver's error means."""

import sqlite3

import pymysql
import pytest
from sqlalchemy.exc import OperationalError

from coordinator.errors import Conflict, DtmError, Invalid, StoreUnavailable
from coordinator.store.faults import Fault, error_number, fault_of, reason_of, refusal


def sqlite_error(kind: type[sqlite3.Error], code: int) -> sqlite3.Error:
    error = kind("said SQLite")
    error.sqlite_errorcode = code
    return error


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
        (pymysql.err.ProgrammingError(1146, "Table 'dtm.kv' doesn't exist"), StoreUnavailable, "dtm.kv"),
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
