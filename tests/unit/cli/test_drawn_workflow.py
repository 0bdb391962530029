"""A workflow in a terminal reads like its code."""

import base64
from typing import Any

import pytest

from coordinator.cli.drawn_workflow import draw_workflow


def row(
    place: str, name: str, result: str = "", op: str = "action", status: str = "succeed"
) -> dict[str, Any]:
    data = base64.b64encode(result.encode()).decode()
    return {"branch_id": place, "op": op, "status": status, "url": name, "bin_data": data}


def test_steps_by_name_with_what_they_returned(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        row("01", "do:charge", '{"paid": 30}'),
        row("020201", "saga:stock/take", "external:g/020201"),
        row("020101", "do:pack", "too-large:70000"),
        row("03", "sleep", '"2030-01-01T00:00:00.000+00:00"'),
        row("04", "", "of another client"),
        row("05", "saga:mail/send", "no such address", status="failed"),
        row("06", "do:next", "cancelled:why", status="failed"),
        row("00-ask", "patched:ask", op="patch"),
        row("00", "cancel", "the customer has called", op="cancel"),
        row("01", "do:charge", op="rollback"),
    ]
    draw_workflow(rows, {"code": "W04"})
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        '01 do charge ● {"paid": 30}',
        "020101 do pack ✕ returned 70000 bytes, too many → roll back",
        "020201 saga stock/take ● kept elsewhere, as g/020201",
        '03 sleep ● until "2030-01-01T00:00:00.000+00:00"',
        "04 step ● of another client",
        "05 saga mail/send ✕ said no: no such address",
        "06 do next ✕ not begun: cancelled",
        "· patched:ask",
        "✕ cancelled: the customer has called",
        f"── undone {'─' * 50}",
        "01 do charge ▲ undone",
    ]


def test_what_sleeps_now_is_not_done(capsys: pytest.CaptureFixture[str]) -> None:
    draw_workflow([row("01", "sleep", '"2030"')], {"code": "W03"})
    assert "◐ until" in capsys.readouterr().out


def test_what_others_wrote_moves_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    draw_workflow([row("01", "do:\x1b[31m", "\x1b[2J")], {"code": "W04"})
    assert "\x1b" not in capsys.readouterr().out
