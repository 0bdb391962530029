"""curl: the examples of the documents as they are written, and what they print."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tests.interop.lines import Line, line_of
from tests.interop.recorded.replay import parsed, without_what_changes
from tests.support.documents import SHELL_LANGUAGES, documents, fenced_blocks, split_commands
from tests.support.ports import HOST, free_port, is_listening
from tests.support.processes import Process
from tests.support.under_test import ROOT, CoordinatorProcess

CLIENT = "curl"
RECORDED = Path(__file__).parent / "recorded" / "curl.json"
BRANCH = ROOT / "examples" / "branch.py"
# Its examples are answered by coordinators that are set up for them: tests/docs starts those.
OTHER_COORDINATORS = frozenset({"security.md"})
METRIC = "dtm_server_info"  # what stands for all of them; their names are tested elsewhere


def examples() -> Iterator[tuple[Path, str]]:
    """Yield every curl command of the documents, in the order in which a reader types them."""
    for document in documents():
        if document.name in OTHER_COORDINATORS:
            continue
        for block in fenced_blocks(document.read_text(encoding="utf-8")):
            if block.language in SHELL_LANGUAGES:
                for command in split_commands(block.text):
                    # What a coordinator says, and not what a filter makes of it.
                    if command.startswith("curl ") and "36789" in command and " | " not in command:
                        yield document, command


def answers(coordinator: CoordinatorProcess, folder: Path) -> dict[str, object]:
    """Run them all in `folder`, beside the branch that documents start; return what each prints.

    Without what changes from run to run.
    """
    port = free_port()
    program = folder / BRANCH.name
    program.write_text(BRANCH.read_text("utf-8").replace("8000", str(port)), encoding="utf-8")
    command = [sys.executable, str(program)]
    branch = Process(command, name="branch", folder=folder, ready=lambda: is_listening(port))
    with closing(branch), branch:
        return {
            f"{document.name}: {command}": _answer(command, coordinator, f"{HOST}:{port}", folder)
            for document, command in examples()
        }


def _answer(command: str, coordinator: CoordinatorProcess, branch: str, folder: Path) -> object:
    here = command.replace("localhost:36789", f"{HOST}:{coordinator.http_port}")
    here = here.replace("localhost:8000", branch)
    done = subprocess.run(
        ["bash", "-c", here], capture_output=True, text=True, timeout=30, check=False, cwd=folder
    )
    if done.returncode != 0:
        raise AssertionError(f"{command}\nexit code {done.returncode}: {done.stderr}")
    value = parsed(done.stdout)
    match value:
        case str() if METRIC in value:
            return "Prometheus text"
        case {"openapi": _}:
            return "an OpenAPI document"
        case {"version": _}:
            return "the version"
        case {"transaction": _, "why": _}:
            return "a transaction, and why it is there"
        case {"nodes": _}:
            return "the coordinators"
        case {"records": _}:
            return "who did what"
        case {"endpoints": _}:
            return "how calls to each endpoint go"
        case {"transactions": list(rows)}:
            value["transactions"] = [_settled(row) for row in rows]
        case {"hold": _, "sentences": _}:
            return "what a hold would do"
    return without_what_changes(value, "{run}", branch)


def _settled(row: dict[str, object]) -> dict[str, object]:
    """A listed row without what says whether its call is out just now."""
    return {name: value for name, value in row.items() if name not in {"owner", "next_cron_interval"}}


def lines(found: dict[str, object]) -> list[Line]:
    """Compare with what is recorded, one line an example."""
    recorded: dict[str, object] = json.loads(RECORDED.read_text("utf-8"))

    def compare(example: str) -> None:
        assert example in recorded, f"no answer is recorded; make compatibility writes it: {found[example]}"
        assert found[example] == recorded[example], f"{found[example]}, recorded: {recorded[example]}"

    result = [line_of(CLIENT, _short(it), "http", lambda it=it: compare(it)) for it in found]  # type: ignore[misc]
    result += [
        Line(CLIENT, _short(it), "http", "failed", "recorded, and in no document any more")
        for it in recorded
        if it not in found
    ]
    return result


def write(found: dict[str, object]) -> None:
    """Record what they print now; the change shows in the next diff."""
    RECORDED.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _short(example: str) -> str:
    document, _, command = example.partition(": ")
    path = command.partition("36789")[2].split()[0].strip("'\"")
    return f"{document}, {path}"
