"""The tables of the coordinator's own, declared once (PROTOCOL §14), beside those of the protocol."""

from collections.abc import Mapping
from enum import Enum

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, UniqueConstraint

from coordinator.attempt import ANSWER_BYTES_MAX, ENDPOINT_MAX, FINGERPRINT_MAX
from coordinator.store.column_types import BYTES, ENDPOINT, GID, ID, MYSQL, NODE_NAME, TIME
from coordinator.store.limits import GID_MAX, NAME_MAX, SUBJECT_MAX, TEXT_MAX, USER_NAME_MAX

# Tables of our own stand apart: where the user may not make them, all else works (PROTOCOL §14).
OWN_METADATA = MetaData()

DTM_NODE = Table(
    "dtm_node",
    OWN_METADATA,
    Column("name", NODE_NAME, primary_key=True),
    Column("token", String(NAME_MAX), nullable=False),
    Column("address", String(TEXT_MAX), nullable=False),
    Column("version", String(NAME_MAX), nullable=False),
    Column("settings", String(TEXT_MAX), nullable=False),
    Column("started", TIME, nullable=False),
    Column("last_seen", TIME, nullable=False),
    **MYSQL,
)

DTM_TOKEN = Table(
    "dtm_token",
    OWN_METADATA,
    Column("id", String(NAME_MAX), primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("name", String(GID_MAX), nullable=False),
    Column("role", String(NAME_MAX), nullable=False),
    Column("gid_prefix", String(GID_MAX), nullable=False),
    Column("made", TIME, nullable=False),
    Column("expires", TIME, nullable=False),
    Column("revoked", TIME),
    Column("last_used", TIME),
    **MYSQL,
)

# People who log in to the console, by a password.
DTM_USER = Table(
    "dtm_user",
    OWN_METADATA,
    Column("name", String(USER_NAME_MAX), primary_key=True),
    Column("password", String(255), nullable=False),
    Column("role", String(NAME_MAX), nullable=False),
    Column("made", TIME, nullable=False),
    Column("changed", TIME, nullable=False),
    Column("disabled", TIME),
    Column("last_login", TIME),
    **MYSQL,
)

# Who is logged in. `login` is what a log-in can be done with once: nobody is let in twice by the same.
DTM_SESSION = Table(
    "dtm_session",
    OWN_METADATA,
    Column("hash", String(64), primary_key=True),
    Column("login", String(64), nullable=False),
    Column("name", String(GID_MAX), nullable=False),
    Column("method", String(NAME_MAX), nullable=False),
    Column("issuer", String(SUBJECT_MAX), nullable=False),
    Column("subject", String(SUBJECT_MAX), nullable=False),
    Column("role", String(NAME_MAX), nullable=False),
    Column("address", String(GID_MAX), nullable=False),
    Column("made", TIME, nullable=False),
    Column("expires", TIME, nullable=False),
    Column("last_used", TIME, nullable=False),
    Column("ended", TIME),
    UniqueConstraint("login", name="dtm_session_login"),
    Index("dtm_session_subject", "subject"),
    Index("dtm_session_expires", "expires"),
    **MYSQL,
)

DTM_AUDIT = Table(
    "dtm_audit",
    OWN_METADATA,
    Column("id", ID, primary_key=True),
    Column("at", TIME, nullable=False),
    Column("who", String(GID_MAX), nullable=False),
    Column("method", String(NAME_MAX), nullable=False),
    Column("address", String(GID_MAX), nullable=False),
    Column("coordinator", String(GID_MAX), nullable=False),
    Column("action", String(NAME_MAX), nullable=False),
    Column("target", String(TEXT_MAX), nullable=False),
    Column("reason", String(TEXT_MAX), nullable=False),
    Column("was", String(TEXT_MAX), nullable=False),
    Column("became", String(TEXT_MAX), nullable=False),
    Column("outcome", String(TEXT_MAX), nullable=False),
    Index("dtm_audit_at", "at"),
    **MYSQL,
)

# One row for each attempt that is kept: a place is taken again, so that no branch has more than twenty.
DTM_ATTEMPT = Table(
    "dtm_attempt",
    OWN_METADATA,
    Column("gid", GID, primary_key=True),
    Column("branch_id", String(GID_MAX), primary_key=True),
    Column("op", String(NAME_MAX), primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, nullable=False),
    Column("result", String(NAME_MAX), nullable=False),
    Column("kind", String(NAME_MAX), nullable=False),
    Column("status", Integer),
    Column("url", String(TEXT_MAX), nullable=False),
    Column("endpoint", String(ENDPOINT_MAX), nullable=False),
    Column("answer", String(ANSWER_BYTES_MAX), nullable=False),
    Column("fingerprint", String(FINGERPRINT_MAX), nullable=False),
    Column("coordinator", String(GID_MAX), nullable=False),
    Column("began", TIME, nullable=False),
    Column("last", TIME, nullable=False),
    Column("milliseconds", BigInteger, nullable=False),
    Column("times", Integer, nullable=False),
    **MYSQL,
)

DTM_STUCK = Table(
    "dtm_stuck",
    OWN_METADATA,
    Column("gid", GID, primary_key=True),
    Column("trans_type", String(NAME_MAX), nullable=False),
    Column("status", String(12), nullable=False),
    Column("branch_id", String(GID_MAX), nullable=False),
    Column("op", String(NAME_MAX), nullable=False),
    Column("endpoint", String(ENDPOINT_MAX), nullable=False),
    Column("kind", String(NAME_MAX), nullable=False),
    Column("fingerprint", String(FINGERPRINT_MAX), nullable=False),
    Column("error", String(TEXT_MAX), nullable=False),
    Column("coordinator", String(GID_MAX), nullable=False),
    Column("since", TIME, nullable=False),
    Index("dtm_stuck_cause", "endpoint", "op", "fingerprint", "since"),
    Index("dtm_stuck_since", "since"),
    **MYSQL,
)

# What a step answered that keeps its result: written in the commit of its success.
DTM_RESULT = Table(
    "dtm_result",
    OWN_METADATA,
    Column("gid", GID, primary_key=True),
    Column("branch_id", String(GID_MAX), primary_key=True),
    Column("content", BYTES, nullable=False),
    Column("at", TIME, nullable=False),
    **MYSQL,
)

# One row for each action that was asked of many transactions (coordinator.store.bulk_rows).
DTM_BULK = Table(
    "dtm_bulk",
    OWN_METADATA,
    Column("id", ID, primary_key=True),
    Column("action", String(NAME_MAX), nullable=False),
    Column("wanted", String(TEXT_MAX), nullable=False),
    Column("id_max", BigInteger, nullable=False),
    Column("items", Integer, nullable=False),
    Column("rate", Integer, nullable=False),
    Column("reason", String(TEXT_MAX), nullable=False),
    Column("who", String(GID_MAX), nullable=False),
    Column("method", String(NAME_MAX), nullable=False),
    Column("address", String(GID_MAX), nullable=False),
    Column("gid_prefix", String(GID_MAX), nullable=False),
    Column("needs", String(NAME_MAX), nullable=False),
    Column("source", BigInteger),
    Column("state", String(12), nullable=False),
    Column("owner", String(GID_MAX), nullable=False),
    Column("until", TIME, nullable=False),
    Column("passed", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("not_eligible", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("made", TIME, nullable=False),
    Column("ended", TIME),
    Index("dtm_bulk_state", "state"),
    **MYSQL,
)

# What it is asked of, fixed before it begins.
DTM_BULK_ITEM = Table(
    "dtm_bulk_item",
    OWN_METADATA,
    Column("bulk", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("gid", GID, nullable=False),
    Column("trans_id", BigInteger, nullable=False),
    **MYSQL,
)

# How it went: written in the commit of the action itself, and never twice, which the key holds.
DTM_BULK_RESULT = Table(
    "dtm_bulk_result",
    OWN_METADATA,
    Column("bulk", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("result", String(12), nullable=False),
    Column("said", String(ENDPOINT_MAX), nullable=False),
    Column("at", TIME, nullable=False),
    **MYSQL,
)
# What coordinators share of the store's upkeep: who does it now, and what is known of the tables.
DTM_SHARED = Table(
    "dtm_shared",
    OWN_METADATA,
    Column("name", String(NAME_MAX), primary_key=True),
    Column("holder", String(GID_MAX), nullable=False),
    Column("held_until", TIME, nullable=False),
    Column("value", String(TEXT_MAX), nullable=False),
    Column("changed", TIME, nullable=False),
    **MYSQL,
)

# One row for each endpoint that is held, and those whose time is over until somebody holds one again.
DTM_HOLD = Table(
    "dtm_hold",
    OWN_METADATA,
    Column("endpoint", ENDPOINT, primary_key=True),
    Column("reason", String(TEXT_MAX), nullable=False),
    Column("who", String(GID_MAX), nullable=False),
    Column("since", TIME, nullable=False),
    Column("until", TIME, nullable=False),
    **MYSQL,
)

# By gid: they go with their transaction at the latest.
OF_TRANSACTIONS = ("dtm_attempt", "dtm_stuck", "dtm_result")
# How long rows of all the others stay, and who looks after them; each table of ours stands here or above.
KEPT_BY_OTHERS: Mapping[str, str] = {
    "dtm_node": "a day after the coordinator was seen last: store.fleet",
    "dtm_token": "for ever: who had access is part of the record",
    "dtm_user": "until somebody removes them",
    "dtm_session": "until they have ended: store.people_tables",
    "dtm_audit": "Access.AuditDays: access.recorder",
    "dtm_bulk": "AttemptDays: service.bulk_runner",
    "dtm_bulk_item": "with their bulk action",
    "dtm_bulk_result": "with their bulk action",
    "dtm_shared": "for ever: a handful of rows",
    "dtm_hold": "until the next hold, once their time is over: store.hold_table",
}


class OwnType(Enum):
    """What a column of our own holds."""

    TEXT = "text"
    NUMBER = "number"
    TIME = "time"
    BYTES = "bytes"


def own_column_type(table: str, column: str) -> OwnType:
    """What this column holds."""
    kind = OWN_METADATA.tables[table].columns[column].type
    if kind is TIME:
        return OwnType.TIME
    if kind is BYTES:
        return OwnType.BYTES
    return OwnType.NUMBER if isinstance(kind, Integer) else OwnType.TEXT


def own_key(table: str) -> tuple[str, ...]:
    """The columns of its primary key."""
    return tuple(column.name for column in OWN_METADATA.tables[table].primary_key)
