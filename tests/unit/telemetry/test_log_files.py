"""Which rotated log files are cleared away, and what lumberjack's keys may hold."""

import os
from pathlib import Path

import pytest

from coordinator.errors import StartError
from coordinator.telemetry.log_files import clear_away, rotating

DAY = 86_400
NOW = 1_800_000_000.0


@pytest.fixture
def rotated(tmp_path: Path) -> list[str]:
    """Files that are 0, 1, 2, 3 and 4 days old."""
    found = []
    for days in range(5):
        path = tmp_path / f"dtm.{days}.log"
        path.write_text("x")
        os.utime(path, (NOW - days * DAY, NOW - days * DAY))
        found.append(str(path))
    return found[::2] + found[1::2]  # in no order


@pytest.mark.parametrize(
    ("backups_max", "days_max", "left"),
    [
        (0, 0, [0, 1, 2, 3, 4]),
        (2, 0, [0, 1]),
        (0, 3, [0, 1, 2, 3]),
        (2, 3, [0, 1]),
        (4, 1, [0, 1]),
        (9, 9, [0, 1, 2, 3, 4]),
    ],
)
def test_too_old_and_too_many_are_cleared_away(
    rotated: list[str], backups_max: int, days_max: int, left: list[int]
) -> None:
    clear_away(rotated, backups_max=backups_max, days_max=days_max, now=NOW)
    assert sorted(int(name.split(".")[-2]) for name in rotated if Path(name).exists()) == left


@pytest.mark.parametrize("key", ["maxsize", "maxage", "maxbackups"])
@pytest.mark.parametrize("value", ["10", 1.5, -1, True, [1]])
def test_a_key_that_is_no_number_is_named(key: str, value: object) -> None:
    with pytest.raises(StartError) as raised:
        rotating({key: value})
    assert raised.value.message.startswith(f"Log.RotationConfigJSON: {key} must be a whole number")


def test_what_lumberjack_leaves_out_has_its_defaults() -> None:
    assert rotating({"maxage": None, "localtime": True, "other": 1}) == {"rotation": 100 * 1024 * 1024}
