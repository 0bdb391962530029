"""A batch's writes travel with their commit; reads do not wait."""

from typing import Any

import pytest

from coordinator.store.packet import Packet


class Cursor:
    """Remembers what was sent, and fails at a statement where a test says so."""

    def __init__(self, fails_at: bytes = b"-") -> None:
        self.sent: list[bytes] = []
        self.results = 0
        self._fails_at = fails_at
        self._behind: list[bytes] = []

    def execute(self, statement: bytes) -> None:
        self.sent.append(statement)
        first, *self._behind = statement.split(b";")
        self._run(first)

    def nextset(self) -> None:
        self._run(self._behind.pop(0))

    def fetchall(self) -> list[Any]:
        return [("row",)]

    def _run(self, statement: bytes) -> None:
        if self._fails_at in statement:
            raise ValueError(statement)
        self.results += 1


def test_writes_wait_for_the_commit_and_reads_do_not() -> None:
    cursor = Cursor()
    packet = Packet(cursor)
    packet.execute(b"SELECT gid FROM trans_global FOR UPDATE")
    assert packet.fetchall() == [("row",)]
    packet.execute(b"\nINSERT INTO trans_global VALUES (1)")
    packet.execute(b"UPDATE trans_global SET status = 'succeed'")
    assert cursor.sent == [b"SELECT gid FROM trans_global FOR UPDATE"]
    packet.commit()
    assert cursor.sent[1:] == [
        b"\nINSERT INTO trans_global VALUES (1);UPDATE trans_global SET status = 'succeed';COMMIT"
    ]
    assert cursor.results == 4, "the result of each is read"


def test_a_batch_without_writes_is_committed_too() -> None:
    cursor = Cursor()
    Packet(cursor).commit()
    assert cursor.sent == [b"COMMIT"]


@pytest.mark.parametrize("fails_at", [b"INSERT", b"UPDATE", b"COMMIT"])
def test_an_error_is_found_wherever_it_is(fails_at: bytes) -> None:
    packet = Packet(Cursor(fails_at))
    packet.execute(b"INSERT INTO a VALUES (1)")
    packet.execute(b"UPDATE a SET b = 1")
    with pytest.raises(ValueError):
        packet.commit()


def test_what_is_long_is_sent_in_several_packets_and_committed_in_the_last() -> None:
    cursor = Cursor()
    packet = Packet(cursor)
    for number in range(5):
        packet.execute(b"INSERT INTO a VALUES ('%d%s')" % (number, b"x" * 400_000))
    packet.commit()
    assert [it.count(b"INSERT") for it in cursor.sent] == [2, 2, 1]
    assert [it.endswith(b";COMMIT") for it in cursor.sent] == [False, False, True]
