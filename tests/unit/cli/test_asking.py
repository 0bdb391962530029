"""The commands that ask a coordinator: what they write, and how they end, whatever is answered."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from coordinator.cli.exits import Exit
from coordinator.cli.lazily import ASKING
from coordinator.cli.main import main
from coordinator.explain.codes import CODES
from tests.support.ports import HOST, free_port

EVIL = "evil\x1b]0;owned\x07\x9b31m\u202eexe\r\nfake line"
TRANSACTION = {
    "gid": EVIL,
    "trans_type": EVIL,
    "status": EVIL,
    "create_time": "2026-01-01T00:00:00Z",
    "next_cron_time": "2026-01-01T00:00:10Z",
    "rollback_reason": EVIL,
    "stuck": {"endpoint": EVIL, "op": EVIL, "error": EVIL, "code": EVIL},
}
FORECAST = {
    "next_at": "2026-01-01T00:00:10Z",
    "calls": [
        {
            "at": "2026-01-01T00:00:10Z",
            "round": 1,
            "branch_id": EVIL,
            "op": EVIL,
            "url": f"http://host/{EVIL}",
        }
    ],
    "ends": EVIL,
    "ends_at": "2026-01-01T00:00:10Z",
    "repeats_seconds": 300,
}
PREVIEW = {
    "action": EVIL,
    "hash": EVIL,
    "forecast": FORECAST,
    "effects": [{"branch_id": EVIL, "url": f"http://host/{EVIL}", "fate": "stays", "sentence": EVIL}],
    "remarks": [EVIL],
}
JOB = {
    **dict.fromkeys(("action", "filter", "reason", "who", "coordinator", "needs"), EVIL),
    "id": 1,
    "id_max": 9,
    "state": EVIL,
    "rate": 50,
    "source": 3,
    "made": "2026-01-01T00:00:00Z",
    "count": 5,
    "done": 1,
    "not_eligible": 1,
    "refused": 1,
    "failed": 1,
    "waiting": 1,
}
ANSWER = {
    **JOB,
    "job": JOB,
    "jobs": [JOB],
    "items": [{"gid": EVIL, "result": "failed", "said": EVIL}],
    "transaction": TRANSACTION,
    "branches": [
        {"branch_id": EVIL, "op": op, "url": f"http://host/{EVIL}", "status": status}
        for op in ("action", "compensate", EVIL)
        for status in ("prepared", "succeed", "failed", EVIL)
    ],
    "attempts": [
        {
            "branch_id": EVIL,
            "op": EVIL,
            "number": 1,
            "times": 3,
            "kind": "status",
            "status": 500,
            "answer": EVIL,
            "began": "2026-01-01T00:00:00Z",
        }
    ],
    "why": {"code": "W15", "sentence": EVIL, "what_to_do": EVIL, "is_trouble": True},
    "forecast": {"if_all_succeed": FORECAST, "if_this_goes_on": FORECAST},
    "actions": [
        {"action": "skip", "is_allowed": True, "why_not": "", "branches": [{"branch_id": "01", "op": EVIL}]}
    ],
    # What a list, the inbox and the coordinators have: the server here answers every call alike.
    "transactions": [TRANSACTION],
    "after": "",
    "looked_at": EVIL,
    "total": 1,
    "now": "2026-01-01T00:01:00Z",
    "groups": [
        {
            "endpoint": EVIL,
            "op": EVIL,
            "count": 1,
            "since": "2026-01-01T00:00:00Z",
            "example": {"code": EVIL, "error": EVIL, "gid": EVIL},
            "why_not": EVIL,
            "examples": [EVIL],
        }
    ],
    "nodes": [
        {
            "name": EVIL,
            "address": EVIL,
            "version": EVIL,
            "is_alive": False,
            "started": "2026-01-01T00:00:00Z",
            "last_seen": "2026-01-01T00:00:00Z",
        }
    ],
    "records": [{"at": "2026-01-01T00:00:00Z", "who": EVIL, "action": EVIL, "reason": EVIL}],
    "kv": [{"k": EVIL, "v": json.dumps([{"url": EVIL, "remark": EVIL}])}],
    "next_position": "",
    **PREVIEW,
    "preview": PREVIEW,
}
ANSWER["forecast"] = {**FORECAST, "if_all_succeed": FORECAST, "if_this_goes_on": FORECAST}


@dataclass
class Answering:
    """A server that answers every call alike. seen: method, path and token of each."""

    url: str = ""
    status: int = 200
    body: bytes = b"{}"
    location: str = ""
    conflict: bytes = b""  # what POST is answered instead, with 409
    seen: list[tuple[str, str, str]] = field(default_factory=list)

    def says(self, answer: Any, status: int = 200) -> None:
        self.status, self.body = status, json.dumps(answer).encode()


@pytest.fixture
def server() -> Iterator[Answering]:
    answering = Answering()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answering.seen.append((self.command, self.path, self.headers.get("Authorization", "")))
            is_refused = self.command == "POST" and answering.conflict
            body = answering.conflict if is_refused else answering.body
            self.send_response(409 if is_refused else answering.status)
            if answering.location:
                self.send_header("Location", answering.location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as listening:
        answering.url = f"http://{HOST}:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield answering
        listening.shutdown()
        thread.join()


def dtm(server: Answering, *words: str, stdin: str | None = None, **environment: str) -> Result:
    given = {**dict.fromkeys(os.environ), "DTM_URL": server.url, "HOME": "/nowhere", **environment}
    return CliRunner().invoke(main, words, env=given, input=stdin)


def obeyed(text: str) -> list[str]:
    """What a terminal would obey in it."""
    return re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)


@pytest.mark.parametrize("form", ["", "--json", "--jsonl"])
@pytest.mark.parametrize(
    "words",
    [
        ("show", "g"),
        ("why", "g"),
        ("plan", "g", "--stop"),
        ("plan", "g", "--skip", "01"),
        ("ls",),
        ("inbox",),
        ("nodes",),
        ("audit",),
        ("top", "--once"),
        ("topics", "ls"),
        ("bulk", "list"),
        ("bulk", "show", "1", "--result", "failed"),
        ("bulk", "retry", "age:>1d", "--dry-run"),
        ("bulk", "cancel", "1"),
        ("retry", "g"),
        ("stop", "g", "--yes", "--reason", "x"),
    ],
)
def test_no_strangers_escape_sequence_reaches_a_terminal(
    server: Answering, words: tuple[str, ...], form: str
) -> None:
    server.says(ANSWER)
    done = dtm(server, *words, *([form] if form else []))
    assert done.exit_code == 0, done.output
    assert "evil" in done.stdout or words[0] in ("retry", "stop")
    assert not obeyed(done.output)
    assert not any(line.startswith("fake line") for line in done.output.splitlines())


def test_an_error_is_shown_and_not_obeyed(server: Answering) -> None:
    server.says({"message": EVIL}, 500)
    done = dtm(server, "ls")
    assert done.exit_code == Exit.NOT_WELL
    assert not obeyed(done.output)


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (401, {"message": "no credential"}, Exit.FORBIDDEN),
        (403, {"message": "may not"}, Exit.FORBIDDEN),
        (409, {"dtm_result": "FAILURE", "message": "final already"}, Exit.REFUSED),
        (500, {"message": "no TransGlobal with gid: g found"}, Exit.NOT_FOUND),
        (500, {"message": "filter: there is no key 'x'"}, Exit.NOT_WELL),
        (503, {"message": "the coordinator is stopping"}, Exit.UNREACHABLE),
        (200, {"why": {"code": "W40", "sentence": "It has succeeded.", "what_to_do": "Nothing."}}, Exit.OK),
        (404, ["no coordinator"], Exit.UNREACHABLE),
    ],
)
def test_the_exit_code_says_how_it_went(server: Answering, status: int, answer: Any, code: Exit) -> None:
    server.says(answer, status)
    assert dtm(server, "why", "g").exit_code == code


def test_where_nobody_is_it_says_so(server: Answering) -> None:
    done = dtm(server, "ls", "--url", "http://localhost:1")
    assert done.exit_code == Exit.UNREACHABLE
    assert "http://localhost:1 cannot be reached" in done.stderr


@pytest.mark.parametrize("answer", [{"ok": 1}, ["ok"], "ok"])
@pytest.mark.parametrize(
    "words",
    [
        *(["ls"], ["show", "g"], ["why", "g"], ["watch", "g"], ["plan", "g", "--stop"], ["retry", "g"]),
        *(
            ["skip", "g", "01", "--must-not-happen", "--yes", "--reason", "x"],
            ["stop", "g", "--yes", "--reason", "x"],
            ["inbox"],
            ["nodes"],
            ["audit"],
        ),
        ["topics", "ls"],
        *(["bulk", "list"], ["bulk", "show", "1"], ["bulk", "stop", "age:>1d", "--dry-run"]),
    ],
)
def test_who_answers_something_else_is_no_coordinator(
    server: Answering, words: list[str], answer: Any
) -> None:
    server.says(answer)
    done = dtm(server, *words)
    assert done.exit_code == Exit.UNREACHABLE, done.output
    assert "is it a coordinator?" in done.stderr


def test_a_person_who_breaks_off_is_not_told_that_it_was_rolled_back(
    server: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks_off(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("coordinator.cli.asked.Coordinator.get", breaks_off)
    assert dtm(server, "watch", "g").exit_code == Exit.BROKEN_OFF == 130


def test_what_is_no_coordinator_is_no_coordinator(server: Answering) -> None:
    server.body = b"<html>"
    done = dtm(server, "ls")
    assert done.exit_code == Exit.UNREACHABLE
    assert "is it a coordinator?" in done.stderr


def test_a_token_goes_in_a_header_and_follows_no_redirect(server: Answering) -> None:
    server.status, server.location = 307, f"{server.url}/elsewhere"
    assert dtm(server, "why", "a/b c", DTM_TOKEN="secret").exit_code != Exit.OK
    assert server.seen == [("GET", "/api/operate/transactions/a%2Fb%20c", "Bearer secret")]


def test_no_command_takes_a_token_on_its_command_line() -> None:
    for name in ASKING:
        command = main.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        assert not [it for it in command.params if "token" in (it.name or "")]


@pytest.mark.parametrize(
    "words", [("stop", "g"), ("rollback", "g"), ("skip", "g", "01", "--must-not-happen")]
)
def test_whoever_cannot_be_asked_must_say_yes_and_why(server: Answering, words: tuple[str, ...]) -> None:
    server.says(ANSWER)
    assert dtm(server, *words).exit_code == Exit.USAGE
    assert dtm(server, *words, "--yes").exit_code == Exit.USAGE
    assert {method for method, *_ in server.seen} <= {"GET"}, "nothing was done"
    assert dtm(server, *words, "--yes", "--reason", "wrong url").exit_code == Exit.OK
    assert server.seen[-1][:2] == ("POST", f"/api/operate/transactions/g/{words[0]}")


@pytest.mark.parametrize("action", ["retry", "rollback", "stop"])
def test_nothing_is_begun_with_many_before_somebody_says_why(server: Answering, action: str) -> None:
    server.says(ANSWER)
    words = ("bulk", action, "status:submitted", "age:>5m", "--detach")
    assert dtm(server, *words).exit_code == Exit.USAGE
    assert {method for method, *_ in server.seen} <= {"GET"}, "nothing was done"
    yes = () if action == "retry" else ("--yes",)
    done = dtm(server, *words, *yes, "--reason", "it is back", "--confirm", "437")
    assert done.exit_code == Exit.OK, done.output
    assert server.seen[-1][:2] == ("POST", f"/api/operate/bulk/{action}")
    assert server.seen[-2][1].startswith("/api/operate/bulk/preview?action=")


def test_where_they_are_not_as_many_as_confirmed_that_is_shown(server: Answering) -> None:
    server.says(ANSWER)
    server.conflict = json.dumps({"message": "confirm: finds 431", "plan": ANSWER}).encode()
    done = dtm(server, "bulk", "retry", "age:>5m", "--reason", "x", "--confirm", "437")
    assert done.exit_code == Exit.REFUSED
    assert "confirm: finds 431" in done.stderr
    assert "would be asked of 5 transactions" in done.stdout


@pytest.mark.parametrize(("typed", "code"), [("437", Exit.OK), ("436", Exit.NOT_WELL)])
def test_a_person_types_how_many_they_are(
    server: Answering, typed: str, code: Exit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.cli.bulk.is_somebody_there", lambda: True)
    server.says({**ANSWER, "count": 437})
    done = dtm(server, "bulk", "stop", "age:>5m", "--detach", stdin=f"it is gone\n{typed}\n")
    assert done.exit_code == code, done.output
    assert ("POST" in {method for method, *_ in server.seen}) is (code is Exit.OK)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"state": "done", "failed": 0, "refused": 0}, Exit.OK),
        ({"state": "done", "failed": 1, "refused": 0}, Exit.NOT_WELL),
        ({"state": "cancelled", "failed": 0, "refused": 0}, Exit.NOT_WELL),
    ],
)
def test_waiting_for_many_ends_as_they_went(server: Answering, changed: Any, code: Exit) -> None:
    server.says({**JOB, **changed})
    assert dtm(server, "bulk", "watch", "1").exit_code == code


def test_what_has_moved_meanwhile_is_shown_and_not_done(server: Answering) -> None:
    server.says(ANSWER)
    server.conflict = json.dumps({"message": "it has moved", "preview": PREVIEW}).encode()
    done = dtm(server, "rollback", "g", "--yes", "--reason", "wrong url")
    assert done.exit_code == Exit.REFUSED
    assert "nothing was done: g has moved meanwhile" in done.stderr
    assert "would …" in done.stdout
    assert dtm(server, "retry", "g").exit_code == Exit.REFUSED, "it gives up where it moves all the time"


def test_every_command_that_a_reason_names_is_there() -> None:
    for code in CODES.values():
        for name in re.findall(r"\bdtm ([a-z-]+)", code.what_to_do):
            assert main.get_command(None, name) is not None, f"{code.id}: dtm {name}"  # type: ignore[arg-type]
        for name, option in re.findall(r"\bdtm ([a-z-]+)[A-Z ]* (--[a-z]+)", code.what_to_do):
            options = {it for param in main.get_command(None, name).params for it in param.opts}  # type: ignore[arg-type,union-attr]
            assert option in options, f"{code.id}: dtm {name} {option}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_the_names_of_commands(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert "_DTM_COMPLETE" in done.stdout
    if shutil.which(shell):
        checked = subprocess.run(
            [shell, "-n"], input=done.stdout, text=True, capture_output=True, check=False
        )
        assert checked.returncode == 0, checked.stderr
    words = {
        "bash": {"COMP_WORDS": "dtm wa", "COMP_CWORD": "1"},
        "zsh": {"COMP_WORDS": "dtm wa", "COMP_CWORD": "1"},
    }
    given = words.get(shell, {"COMP_WORDS": "dtm wa", "COMP_CWORD": "wa"})
    program = [sys.executable, "-c", "from coordinator.cli.main import main; main(prog_name='dtm')"]
    completed = subprocess.run(
        program,
        env={**os.environ, "_DTM_COMPLETE": f"{shell}_complete", **given},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert "watch" in completed.stdout


def completed(words: str, **environment: str) -> tuple[list[str], str]:
    """What bash is offered for the last of these words, and what is said on standard error."""
    program = [sys.executable, "-c", "from coordinator.cli.main import main; main(prog_name='dtm')"]
    at = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    done = subprocess.run(
        program,
        env={**os.environ, "_DTM_COMPLETE": "bash_complete", **at, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line], done.stderr


def transactions(*gids: str) -> dict[str, Any]:
    return {"transactions": [{**TRANSACTION, "gid": gid} for gid in gids], "after": "", "looked_at": ""}


@pytest.mark.parametrize("command", ["show", "why", "watch", "plan", "retry", "rollback", "stop", "skip"])
def test_a_shell_completes_gids_that_are_unfinished(server: Answering, command: str) -> None:
    server.says(transactions("order-2", "order-10", "other"))
    arguments = shell_arguments(command, "order-", url=server.url)
    assert arguments == ["order-10", "order-2"]
    [(method, path, _)] = server.seen
    assert (method, path.partition("?")[0]) == ("GET", "/api/operate/transactions")
    assert "status%3Asubmitted" in path
    assert "succeed" not in path


def shell_arguments(command: str, incomplete: str, *, url: str) -> list[str]:
    found = ShellComplete(main, {}, "dtm", "_DTM_COMPLETE").get_completions(
        [command, "--url", url], incomplete
    )
    return [item.value for item in found]


def test_a_shell_is_offered_no_gid_that_it_would_carry_out(server: Answering) -> None:
    server.says(transactions("good", "$(reboot)", "a b", "a;b", "`x`", "-rf", "a\nb", EVIL, "ü", "'", "*"))
    assert completed("dtm show ", DTM_URL=server.url) == (["good"], "")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"transactions": 7}', b'{"transactions": [{}]}'])
def test_a_shell_hears_nothing_of_an_answer_that_is_none(server: Answering, body: bytes) -> None:
    server.body = body
    assert shell_arguments("show", "", url=server.url) == []


def test_a_shell_hears_nothing_where_nobody_can_be_asked(tmp_path: Path) -> None:
    nobody = {"DTM_URL": f"http://{HOST}:{free_port()}", "XDG_CONFIG_HOME": str(tmp_path)}
    assert completed("dtm show ", **nobody) == ([], "")
    assert completed("dtm show ", **nobody, DTM_PROFILE="missing") == ([], "")


def test_a_machine_that_has_the_client_alone_can_ask(server: Answering, tmp_path: Path) -> None:
    """What the commands import is in the base distribution and the extra `cli`."""
    server.says(ANSWER)
    missing = [
        "sqlalchemy",
        "pydantic",
        "pydantic_settings",
        "loguru",
        "yaml",
        "prometheus_client",
        "yarl",
        "rich",
    ]
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({missing!r}))\n"
        "from coordinator.cli.main import main\n"
        "for words in (['show', 'g'], ['plan', 'g', '--stop'], ['completion', 'bash'], ['doctor', '-h']):\n"
        "    main(words, standalone_mode=False)\n"
    )
    environment = {**os.environ, "DTM_URL": server.url, "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr


def test_marks_are_written_in_whatever_characters_there_are(server: Answering, tmp_path: Path) -> None:
    server.says({**ANSWER, "transaction": {**TRANSACTION, "gid": "Überweisung", "status": "submitted"}})
    environment = {
        **os.environ,
        "DTM_URL": server.url,
        "PYTHONIOENCODING": "ascii",
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "coordinator", "show", "g"],
        env=environment,
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert rb"\xdcberweisung" in done.stdout
    assert b"  * done" in done.stdout


def at_a_terminal(server: Answering, tmp_path: Path, *words: str, typed: str = "", **environment: str) -> str:
    """What a person at a terminal sees, who types that."""
    master, slave = os.openpty()
    given = {
        **os.environ,
        "DTM_URL": server.url,
        "XDG_CONFIG_HOME": str(tmp_path),
        "TERM": "xterm",
        **environment,
    }
    given.pop("NO_COLOR", None) if "NO_COLOR" not in environment else None
    os.write(master, typed.encode())
    with subprocess.Popen(
        [sys.executable, "-m", "coordinator", *words], env=given, stdin=slave, stdout=slave, stderr=slave
    ) as running:
        os.close(slave)
        seen = b""
        with contextlib.suppress(OSError):  # how Linux says that nobody writes there any more
            while part := os.read(master, 4096):
                seen += part
        running.wait(30)
    os.close(master)
    return seen.decode()


@pytest.mark.parametrize(
    ("environment", "has_colour"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colour_is_for_terminals_that_want_it(
    server: Answering, tmp_path: Path, environment: dict[str, str], has_colour: bool
) -> None:
    server.says(ANSWER)
    seen = at_a_terminal(server, tmp_path, "show", "g", **environment)
    assert ("\x1b[32m" in seen) is has_colour
    assert "● done" in seen
    assert not obeyed(re.sub("\x1b\\[[0-9;]*m|\r", "", seen))


@pytest.mark.parametrize(("typed", "is_done"), [("wrong url\ny\n", True), ("wrong url\nn\n", False)])
def test_a_person_is_shown_the_plan_and_asked(
    server: Answering, tmp_path: Path, typed: str, is_done: bool
) -> None:
    server.says(ANSWER)
    seen = at_a_terminal(server, tmp_path, "stop", "g", typed=typed)
    assert "Left behind, to be put right by hand" in seen
    assert ("POST", "/api/operate/transactions/g/stop", "") in server.seen or not is_done
    assert ("nothing was done" in seen) is not is_done
