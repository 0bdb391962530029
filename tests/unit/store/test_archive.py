"""What is written before it is deleted: lines that can be read again, in files that do not grow for ever."""

import base64
import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from coordinator.store.archive import Archive, ArchiveFailed

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def row(gid: str, payload: bytes | None = b"{}") -> dict[str, object]:
    return {
        "transaction": {"gid": gid, "finish_time": NOW},
        "branches": [{"op": "action", "bin_data": payload}],
    }


def test_a_line_for_each(tmp_path: Path) -> None:
    path = tmp_path / "ended.jsonl"
    archive = Archive(path)
    archive.add([row("a"), row("b", b"\xff\x00")], NOW)
    archive.add([row("c", None)], NOW)
    a, b, c = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert a["transaction"] == {"gid": "a", "finish_time": "2026-01-02T03:04:05+00:00"}
    assert a["branches"] == [{"op": "action", "bin_data": "{}"}]
    assert base64.b64decode(b["branches"][0]["bin_data_base64"]) == b"\xff\x00"
    assert c["branches"][0]["bin_data"] is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_steps_answered_that_keep_it_is_in_the_line(tmp_path: Path) -> None:
    path = tmp_path / "ended.jsonl"
    Archive(path).add([row("a") | {"results": {"01": b'{"id":7}', "02": b"\xff"}}], NOW)
    [line] = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert line["results"] == [
        {"branch_id": "01", "content": '{"id":7}'},
        {"branch_id": "02", "content": None, "content_base64": "/w=="},
    ]


def test_a_full_file_is_put_aside(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "ended.jsonl", bytes_max=100)
    for gid in "abc":
        archive.add([row(gid)], NOW)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "ended-20260102T030405-2.jsonl", "ended-20260102T030405-3.jsonl", "ended-20260102T030405.jsonl",
    ]  # fmt: skip


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(ArchiveFailed, match=r"Store\.ArchivePath .* cannot be written: No such file"):
        Archive(tmp_path / "nowhere" / "ended.jsonl").add([row("a")], NOW)
