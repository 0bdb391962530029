"""curl: the examples of the documents as they are written, and what they print."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.interop.lines import Line, line_of
from tests.interop.recorded.replay import parsed, without_what_changes
from tests.support.documents import SHELL_LANGUAGES, documents, fenced_blocks, split_commands
from tests.support.under_test import CoordinatorProcess

CLIENT = "curl"
RECORDED = Path(__file__).parent / "recorded" / "curl.json"
METRIC = "dtm_server_info"  # what stands for all of them; their names are tested elsewhere


def examples() -> Iterator[tuple[Path, str]]:
    """Yield every curl command of the documents, in the order in which a reader types them."""
    for document in documents():
        for block in fenced_blocks(document.read_text(encoding="utf-8")):
            if block.language in SHELL_LANGUAGES:
                for command in split_commands(block.text):
                    if command.startswith("curl ") and " | " not in command:  # not what a filter makes of it
                        yield document, command


def answers(coordinator: CoordinatorProcess, folder: Path) -> dict[str, object]:
    """Run them all in `folder`; return what each prints, without what changes from run to run."""
    return {
        f"{document.name}: {command}": _answer(command, coordinator, folder)
        for document, command in examples()
    }


def _answer(command: str, coordinator: CoordinatorProcess, folder: Path) -> object:
    here = command.replace("localhost:36789", f"127.0.0.1:{coordinator.http_port}")
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
    port = f"127.0.0.1:{coordinator.http_port}"
    return without_what_changes(value, "{run}", port)


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
