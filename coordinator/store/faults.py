"""What a driver's error means for us: refused values, a row held by another, or a database that is away."""

import sqlite3
import ssl
from enum import Enum
from typing import Any, Final

import asyncpg
import pymysql
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from coordinator.errors import Conflict, DtmError, Invalid, StoreUnavailable

# What runners turn into StoreUnavailable, TryAgain or Rejected; anything else is a bug of ours.
STORE_ERRORS: Final = (
    SQLAlchemyError,
    pymysql.Error,
    AsyncAdapt_asyncpg_dbapi.Error,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    sqlite3.Error,
    OSError,
    EOFError,
    UnicodeError,
    TimeoutError,
)


class Refused(StoreUnavailable):
    """The database refused the write, and would again: a table is read only, a trigger says no."""


class Unsuited(Refused):
    """A table, a column or a right is missing, whatever the values are."""


class FileReplaced(OSError):
    """The SQLite file is no longer the one that was opened: what is written to it is written into nowhere."""


class Fault(Enum):
    """What to do after an error."""

    REFUSED = "refused"  # this statement or value, now and always
    DUPLICATE = "duplicate"  # a row of this key exists; perhaps since a moment ago
    LOCKED = "locked"  # another holds a row; the connection is fine
    DEADLOCK = "deadlock"  # the database chose us to give way; the connection is fine
    AWAY = "away"  # no connection, or none that can write: throw it away


# Numbers of MySQL, MariaDB and TiDB. Client errors (2000 to 2999) are all AWAY.
_LOCKED: Final = frozenset({1205, 3572})  # lock wait timeout, NOWAIT
_DEADLOCK: Final = frozenset(
    {
        1213,  # deadlock; also a conflict found by a Galera cluster at commit
        1020,  # record changed since last read
        8002, 8022, 8028, 9007,  # TiDB: write conflict, commit to be tried again, schema changed
    }
)  # fmt: skip
_FULL: Final = frozenset({1040, 1203, 1226})  # too many connections
_AWAY: Final = frozenset(
    {
        1021, 1030, 1114,  # disk full, storage engine error, table full
        1028, 1037, 1038, 1041, 1135,  # out of memory or threads
        *_FULL,
        1047,  # Galera: node not ready
        1042, 1043, 1053, 1077, 1078, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184,  # shutdown, network
        1180,  # error during commit
        1290, 1792, 1836, 3100,  # read-only: a primary that was demoted
        1317, 1927, 1969, 3024, 4031,  # killed, interrupted, disconnected for idleness
        9001, 9002, 9003, 9004, 9005,  # TiDB: its storage is away
    }
)  # fmt: skip
_UNSUITED: Final = frozenset({1044, 1049, 1054, 1142, 1143, 1146})  # no such database, column, table, right
_DUPLICATE: Final = 1062
_BAD_VALUE: Final = frozenset({1048, 1264, 1265, 1267, 1292, 1300, 1364, 1366, 1406, 1411, 3140, 3988, 4025})

# PostgreSQL's five characters, and classes of them by their first two.
_STATE_FULL: Final = "53300"  # too many connections
_STATE_LOCKED: Final = "55P03"  # lock_timeout, NOWAIT
_STATE_DEADLOCK: Final = frozenset({"40P01", "40001"})  # deadlock, serialization failure
_STATE_DUPLICATE: Final = "23505"
_STATE_AWAY: Final = frozenset(
    {
        "25006",  # read-only: a standby, or a primary that was demoted
        "25P03", "25P04",  # the transaction was idle, or took, too long: its connection is closed
        "40002", "40003",  # nobody knows how the transaction ended
        "57014",  # cancelled: statement_timeout, or somebody's hand
    }
)  # fmt: skip
_STATE_CLASSES_AWAY: Final = frozenset(
    {
        "08",  # connection
        "53",  # disk full, out of memory, too many connections
        "57",  # shutting down, crashed, starting up
        "58", "F0", "XX",  # files, configuration, internal errors
    }
)  # fmt: skip
_STATE_CLASSES_UNSUITED: Final = frozenset(
    {"42", "3D", "3F"}
)  # no such table, column, right, database, schema
_STATE_CLASS_BAD_VALUE: Final = "22"
_STATES_BAD_VALUE: Final = frozenset({"23502", "23514"})  # NULL, a check


def fault_of(error: BaseException) -> Fault:
    """Judge an error of STORE_ERRORS."""
    cause = _driver_error(error)
    if isinstance(cause, (UnicodeError, FileReplaced)):
        return Fault.REFUSED
    if isinstance(cause, sqlite3.Error):
        return _sqlite_fault(cause)
    if _is_of_asyncpg(cause):
        return _postgres_fault(cause)
    if not isinstance(cause, pymysql.Error):
        return Fault.AWAY  # OSError, time-outs, SQLAlchemy's pool
    number = error_number(cause)
    if number in _DEADLOCK:
        return Fault.DEADLOCK
    if number in _LOCKED:
        return Fault.LOCKED
    if number == _DUPLICATE:
        return Fault.DUPLICATE
    # The driver raises some of its own without a number: "Not connected", "Cursor closed", broken packets.
    if number < 1000 or 2000 <= number < 3000 or number in _AWAY:
        return Fault.AWAY
    return Fault.REFUSED


def is_full(error: BaseException) -> bool:
    """Whether the server takes no further connection just now; those that stand are fine."""
    return error_number(error) in _FULL or sql_state(error) == _STATE_FULL


def is_unsuited(error: BaseException) -> bool:
    """Whether the database refused whatever its values are: a table, a column or a right is missing."""
    cause = _driver_error(error)
    if isinstance(cause, sqlite3.OperationalError):
        return getattr(cause, "sqlite_errorcode", 0) == sqlite3.SQLITE_ERROR
    return error_number(cause) in _UNSUITED or sql_state(cause)[:2] in _STATE_CLASSES_UNSUITED


def _postgres_fault(error: BaseException) -> Fault:
    state = sql_state(error)
    if state in _STATE_DEADLOCK:
        return Fault.DEADLOCK
    if state == _STATE_LOCKED:
        return Fault.LOCKED
    if state == _STATE_DUPLICATE:
        return Fault.DUPLICATE
    if state in _STATE_AWAY or state[:2] in _STATE_CLASSES_AWAY:
        return Fault.AWAY
    # Without a state it comes from the driver: a lost connection, or a value that it cannot send.
    return Fault.REFUSED if state or _is_unsendable(error) else Fault.AWAY


def _sqlite_fault(error: sqlite3.Error) -> Fault:
    if isinstance(error, sqlite3.IntegrityError):
        return Fault.DUPLICATE
    if isinstance(error, (sqlite3.DataError, sqlite3.ProgrammingError)):
        return Fault.REFUSED
    # Extended codes keep the primary one in the low byte.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_BUSY) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return Fault.DEADLOCK
    if code in {sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_RANGE}:
        return Fault.REFUSED
    return Fault.AWAY  # full disk, I/O error, read-only file


def refusal(error: BaseException) -> DtmError:
    """The error for the caller whose value or statement the database refused."""
    cause = _driver_error(error)
    reason = reason_of(error)
    if isinstance(cause, FileReplaced):
        return StoreUnavailable(f"the store is not available: {reason}")
    if isinstance(cause, UnicodeError):
        return Invalid(f"a value is not Unicode text: {reason}")
    state = sql_state(cause)
    if (
        isinstance(cause, sqlite3.IntegrityError)
        or error_number(cause) == _DUPLICATE
        or state == _STATE_DUPLICATE
    ):
        return Conflict(f"a row of that gid, or one of its branches, is stored already: {reason}")
    if (
        isinstance(cause, (sqlite3.DataError, pymysql.DataError))
        or error_number(cause) in _BAD_VALUE
        or state[:2] == _STATE_CLASS_BAD_VALUE
        or state in _STATES_BAD_VALUE
        or _is_unsendable(cause)
    ):
        return Invalid(f"the store refused a value: {reason}")
    kind = Unsuited if is_unsuited(error) else Refused
    return kind(f"the store refused the write: {reason}")


def reason_of(error: BaseException) -> str:
    """One line that says what the database or the network said."""
    cause = _driver_error(error)
    if isinstance(cause, TimeoutError) and not str(cause):
        return "it did not answer in time"
    if _is_of_asyncpg(cause):
        cause = cause.__cause__ or cause  # the driver's own words, without SQLAlchemy's
    text = str(cause.args[1]) if error_number(cause) and len(cause.args) > 1 else str(cause)
    if isinstance(cause, pymysql.Error) and isinstance(cause.__cause__, ssl.SSLError):
        text = f"{text}: {cause.__cause__}"  # which its driver does not repeat
    return " ".join(text.split()) or type(cause).__name__


def _driver_error(error: BaseException) -> BaseException:
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig
    return error


def error_number(error: BaseException) -> int:
    """The number that MySQL gave the error, 0 for any other."""
    cause = _driver_error(error)
    first: Any = cause.args[0] if cause.args else 0
    return first if isinstance(first, int) and isinstance(cause, pymysql.Error) else 0


def sql_state(error: BaseException) -> str:
    """The five characters that PostgreSQL gave the error, "" for any other."""
    cause = _driver_error(error)
    return str(getattr(cause, "sqlstate", None) or "") if _is_of_asyncpg(cause) else ""


def _is_of_asyncpg(error: BaseException) -> bool:
    return isinstance(
        error,
        (
            AsyncAdapt_asyncpg_dbapi.Error,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        ),
    )


def _is_unsendable(error: BaseException) -> bool:
    """The driver refused a value: text that is not Unicode, a number that is too big."""
    return any(
        isinstance(it, asyncpg.InterfaceError) and isinstance(it, ValueError)
        for it in (error, error.__cause__)
    )
