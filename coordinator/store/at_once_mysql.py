"""A batch without a look, for MySQL, MariaDB and TiDB: one packet that compares, writes and commits."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pymysql

from coordinator.store.at_once import Collected, Fence
from coordinator.store.faults import error_number
from coordinator.store.gathered import Gathered
from coordinator.store.statements_mysql import MySQLStatements, text_list

# Fails (1242) unless as many rows as expected are as expected, and locks them: the server then runs nothing
# that is behind it in its packet. SET, since it answers with one message; DO swallows the error.
_HOLD: Final = """
SET @held = IF((
  SELECT COUNT(*) FROM trans_global WHERE gid IN ({gids}) AND ({as_expected}) FOR UPDATE{skip_locked}
) = {count} AND {in_time}, 1, (SELECT 1 UNION SELECT 2))"""
_IN_TIME: Final = "UTC_TIMESTAMP(6) < '{latest:%Y-%m-%d %H:%M:%S.%f}'"
_NO_FENCE: Final = "SET @held = IF({in_time}, 1, (SELECT 1 UNION SELECT 2))"
# Behind it, since a registration holds the global row: nobody adds a branch from here to the commit.
_COUNT: Final = """
SET @held = IF((
  SELECT COUNT(*) FROM trans_branch_op WHERE gid IN ({gids})
) = {count}, 1, (SELECT 1 UNION SELECT 2))"""
# Byte by byte, whatever the columns' collation. Only the gid, which is the last, may hold the separator; one
# follows it, since blanks at the end compare as nothing.
_AS_EXPECTED: Final = "CONVERT(CONCAT({columns}, '|') USING utf8mb4) COLLATE utf8mb4_bin IN ({rows})"
_DUE: Final = "DATE_FORMAT(next_cron_time, '%Y-%m-%d %H:%i:%s')"
_SEPARATOR: Final = "|"
_BETWEEN: Final = ", '|', "

_NOT_AS_EXPECTED: Final = 1242  # "subquery returns more than 1 row"
_EXISTS: Final = 1062
_PACKET_BYTES_MAX: Final = 1 << 20  # a packet of four times as much is what every server takes

_NOBODY: Final = "''"  # no transaction has this gid


class MySQLAtOnce:
    """See coordinator.store.at_once.AtOnce; for servers that take several statements in a packet."""

    counts = True

    def __init__(self, statements: MySQLStatements, *, skip_locked: bool) -> None:
        self._statements = statements
        self._skip_locked = " SKIP LOCKED" if skip_locked else ""

    def built(
        self, fences: Sequence[Fence], gathered: Gathered, now: str, latest: datetime
    ) -> list[bytes] | None:
        """See AtOnce: the statements, with the commit."""
        collected = Collected()
        in_time = _IN_TIME.format(latest=latest.astimezone(UTC))
        if fences:
            if any(_SEPARATOR in f"{fence.owner}{fence.trans_type}" for fence in fences):
                return None
            collected.execute(self._hold(fences, in_time).encode())
        else:
            collected.execute(_NO_FENCE.format(in_time=in_time).encode())
        if counted := [fence for fence in fences if fence.branches is not None]:
            collected.execute(_count(counted).encode())
        gathered.write(collected, self._statements, now)
        collected.execute(b"COMMIT")
        return collected.statements if sum(map(len, collected.statements)) <= _PACKET_BYTES_MAX else None

    def _hold(self, fences: Sequence[Fence], in_time: str) -> str:
        rows: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)  # by the columns that are compared
        for fence in fences:
            expected = {
                "status": fence.status,
                "owner": fence.owner,
                "trans_type": fence.trans_type or None,
                _DUE: fence.due or None,
            }
            given = {column: value for column, value in expected.items() if value is not None}
            rows[*given, "gid"].append(_SEPARATOR.join((*given.values(), fence.gid, "")))
        as_expected = [
            _AS_EXPECTED.format(columns=_BETWEEN.join(columns), rows=text_list(texts))
            for columns, texts in rows.items()
        ]
        gids = text_list([fence.gid for fence in fences])
        return self._held(gids, " OR ".join(as_expected), len(fences), in_time)

    def _held(self, gids: str, as_expected: str, count: int, in_time: str = "TRUE") -> str:
        return _HOLD.format(
            gids=gids,
            as_expected=as_expected,
            skip_locked=self._skip_locked,
            count=count,
            in_time=in_time,
        )

    def is_understood(self, cursor: Any) -> bool:
        """Whether the server refuses what is not as expected, and nothing else. Raises the driver's."""
        cursor.execute(self._held(_NOBODY, "TRUE", 0).encode() + b";DO 0")
        cursor.nextset()
        try:
            cursor.execute(self._held(_NOBODY, "TRUE", 1).encode() + b";DO 0")
        except pymysql.Error as error:
            if error_number(error) != _NOT_AS_EXPECTED:
                raise
            return True
        cursor.nextset()
        return False

    async def sent(self, connection: Any, statements: list[bytes]) -> bool:
        """See AtOnce."""
        try:
            await connection.query(b";".join(statements))
            for _ in statements[1:]:
                await connection.next_result()
        except pymysql.Error as error:
            if error_number(error) not in (_NOT_AS_EXPECTED, _EXISTS):
                raise
            await connection.rollback()
            return False
        return True


def _count(fences: Sequence[Fence]) -> str:
    """For all together: none of them can have fewer than was written."""
    return _COUNT.format(
        gids=text_list([fence.gid for fence in fences]), count=sum([fence.branches or 0 for fence in fences])
    )
