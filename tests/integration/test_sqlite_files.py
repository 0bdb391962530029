"""A SQLite file that is taken away under an open store: nothing is acknowledged into nowhere."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from coordinator.clock import SystemClock
from coordinator.errors import StartError, StoreUnavailable
from coordinator.store.open import StoreConfig, open_store
from coordinator.store.sql import SqlStore
from tests.support.store_contract import insert, stored


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    """A store on `dtm.db`, with one transaction."""
    opened = await open_store(
        StoreConfig(path=str(tmp_path / "dtm.db")), clock=SystemClock(), zone=None, wait_seconds=1.0
    )
    await insert(opened, "before")
    yield opened
    await opened.close()


def remove(file: Path) -> None:
    file.unlink()


def replace_by_a_copy(file: Path) -> None:
    """As a backup is put back by hand."""
    copy = file.with_name("copy")
    copy.write_bytes(file.read_bytes())
    copy.rename(file)


@pytest.mark.parametrize("name", ["dtm.db", "dtm.db-wal", "dtm.db-shm", "dtm.db.lock"])
@pytest.mark.parametrize("take_away", [remove, replace_by_a_copy])
async def test_nothing_is_written_or_read_once_a_file_is_another(
    store: SqlStore, tmp_path: Path, name: str, take_away: Callable[[Path], None]
) -> None:
    take_away(tmp_path / name)
    words = rf"{name} was deleted or replaced while it was open"
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=words):
            await insert(store, "after")
    with pytest.raises(StoreUnavailable, match=words):
        await store.find("before")
    with pytest.raises(StoreUnavailable, match=words):
        await store.put_value("topics", "t", "[]", replaces=None)
    with pytest.raises(StoreUnavailable, match=words):  # which is what readiness asks
        await store.utc_now()


async def test_connections_that_are_opened_later_say_so_too(store: SqlStore, tmp_path: Path) -> None:
    """They find a file without tables, which is not what is wrong."""
    remove(tmp_path / "dtm.db")
    reads = await asyncio.gather(*(store.find("before") for _ in range(20)), return_exceptions=True)
    assert {type(read) for read in reads} == {StoreUnavailable}
    assert [str(read) for read in reads if "was deleted or replaced" not in str(read)] == []


async def test_connections_that_are_opened_later_leave_alone_what_they_find(
    store: SqlStore, tmp_path: Path
) -> None:
    """A new file would come with a new log, in the place of the one that has what was acknowledged."""
    file, log = tmp_path / "dtm.db", tmp_path / "dtm.db-wal"
    file.rename(tmp_path / "away.db")
    before = log.stat()
    await asyncio.gather(*(store.find("before") for _ in range(20)), return_exceptions=True)
    assert not file.exists()
    assert (log.stat().st_ino, log.stat().st_size) == (before.st_ino, before.st_size)
    file.write_bytes(b"")
    await asyncio.gather(*(store.find("before") for _ in range(20)), return_exceptions=True)
    assert (file.stat().st_size, log.stat().st_ino) == (0, before.st_ino)
    (tmp_path / "away.db").rename(file)
    await asyncio.gather(*(stored(store, "before") for _ in range(20)))
    await insert(store, "after")


@pytest.mark.parametrize("name", ["a b?c#d%41.db", "ä.db"])
async def test_any_name_of_a_file_is_its_name(tmp_path: Path, name: str) -> None:
    store = await open_store(
        StoreConfig(path=str(tmp_path / name)), clock=SystemClock(), zone=None, wait_seconds=1.0
    )
    await insert(store, "one")
    made = set(os.listdir(tmp_path))  # noqa: PTH208 - a Path would be asked by a thread
    assert made >= {name, f"{name}-wal", f"{name}-shm", f"{name}.lock"}
    assert all(each.startswith(name) for each in made)
    await store.close()


async def test_a_file_that_is_put_back_is_used_again(store: SqlStore, tmp_path: Path) -> None:
    file = tmp_path / "dtm.db"
    file.rename(tmp_path / "away.db")
    with pytest.raises(StoreUnavailable):
        await insert(store, "while-away")
    (tmp_path / "away.db").rename(file)
    await insert(store, "after")
    await stored(store, "before")


async def test_a_file_behind_a_link_may_be_used_and_is_missed_too(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "dtm.db"
    link.symlink_to(tmp_path / "disk" / "real.db")
    store = await open_store(StoreConfig(path=str(link)), clock=SystemClock(), zone=None, wait_seconds=1.0)
    await insert(store, "one")
    (tmp_path / "disk" / "real.db-wal").unlink()
    with pytest.raises(StoreUnavailable, match=r"real\.db-wal was deleted or replaced"):
        await insert(store, "two")
    await store.close()


async def test_one_file_by_two_names_is_opened_once(store: SqlStore, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "other.db"
    link.symlink_to(tmp_path / "dtm.db")
    with pytest.raises(StartError, match="another process has the SQLite file"):
        await open_store(StoreConfig(path=str(link)), clock=SystemClock(), zone=None, wait_seconds=1.0)
    assert os.listdir(tmp_path / "links") == ["other.db"]  # noqa: PTH208 - a Path would be asked by a thread


async def test_a_file_that_is_opened_again_and_again_is_still_the_same(tmp_path: Path) -> None:
    for number in range(3):
        store = await open_store(
            StoreConfig(path=str(tmp_path / "dtm.db")), clock=SystemClock(), zone=None, wait_seconds=1.0
        )
        await insert(store, f"gid-{number}")
        await stored(store, "gid-0")
        await store.close()
