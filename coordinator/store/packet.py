"""The writes of one batch in one round trip, with their commit, where the database takes several statements.

Each statement's result is read, so that an error is found wherever it is: the server runs nothing behind it,
the commit neither.
"""

from collections.abc import Sequence
from typing import Any, Final

_BYTES_MAX: Final = 1 << 20  # gathered; a packet of four times as much is what every server takes
_SELECT: Final = b"SELECT"
_COMMIT: Final = b"COMMIT"


class Packet:
    """A cursor whose writes wait for `commit`; reads are at once, since none asks for what waits."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._waiting: list[bytes] = []
        self._bytes = 0

    def execute(self, statement: bytes, /) -> None:
        """Run a SELECT, let anything else wait."""
        if statement.lstrip().startswith(_SELECT):
            self._cursor.execute(statement)
            return
        if self._waiting and self._bytes + len(statement) > _BYTES_MAX:
            self._send()
        self._waiting.append(statement)
        self._bytes += len(statement)

    def executemany(self, statement: str, parameters: Any, /) -> None:
        """Nobody asks for it: MySQL's statements hold all their rows."""
        raise NotImplementedError

    def nextset(self) -> None:
        """Go on to the result of the next of several SELECTs."""
        self._cursor.nextset()

    def fetchall(self) -> Sequence[Any]:
        """Return all rows of the last SELECT."""
        rows: Sequence[Any] = self._cursor.fetchall()
        return rows

    def commit(self) -> None:
        """Send what waits, and the commit behind it."""
        self._waiting.append(_COMMIT)
        self._send()

    def _send(self) -> None:
        statements, self._waiting, self._bytes = self._waiting, [], 0
        self._cursor.execute(b";".join(statements))
        for _ in statements[1:]:
            self._cursor.nextset()


def takes_packets(cursor: Any) -> None:
    """Try two statements in one packet. Raises the driver's error where the database takes one alone."""
    cursor.execute(b"DO 0;DO 0")
    cursor.nextset()
