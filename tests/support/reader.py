"""Read a Markdown document as a newcomer does: top to bottom, one folder, every ```sh block typed in.

What each command gets:
- `make …` names a target that the Makefile has; CI runs the targets themselves.
- `git clone`, `cd`, `pip install`, making an environment: whoever reads this checkout has done that.
- `docker …`: the files it names exist; there need not be a Docker engine here.
- `dtm` as a server, `python -m branches.…`, `-m examples.shop`, `examples/branch.py`: kept running until the
  document ends.
- A curl that prints the status has to print the one behind `#` in its last line, if there is one.
- Anything else runs and has to end with 0. If it talks to a coordinator and none was started, there is one.

The programs' usual ports are replaced by free ones: in the commands, and in the conf files and examples that
the folder has from this checkout.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.documents import (
    SHELL_LANGUAGES,
    Block,
    Kind,
    fenced_blocks,
    kind_of,
    make_targets,
    split_commands,
)
from tests.support.ports import answers, free_port, is_listening, speaks_tls
from tests.support.processes import Process
from tests.support.under_test import ROOT, CoordinatorProcess

HTTP, GRPC, OPERATORS = 36789, 36790, 36792
EXAMPLE = "examples/branch.py"
BRANCHES = {"user": 8080, "score": 8081, "api": 8888, EXAMPLE: 8000}
USUAL_PORTS = (HTTP, GRPC, OPERATORS, *BRANCHES.values())
COPIED = ("conf.sample.yml", "conf", "examples", "sql")
COMMAND_SECONDS = 180  # one command of a document may take that long
# What curl calls success: an answer below 400, not merely an answer; who prints the status wants to see it.
CURL = """curl() {
    case "$*" in
        *http_code*) command curl "$@" ;;
        *) command curl --fail-with-body "$@" ;;
    esac
}"""


class DocumentWrong(AssertionError):
    """A reader who types what the document says does not get what it promises."""


class Reader:
    """Somebody who follows one document in `folder`; `close()` ends what runs."""

    def __init__(self, document: Path, folder: Path) -> None:
        """Copy what a checkout has and documents use into `folder`."""
        self._document = document
        self._folder = folder
        self._ports = {usual: free_port() for usual in USUAL_PORTS}
        self._coordinator: Process | None = None
        self._branches: list[Process] = []
        (folder / ".venv").symlink_to(sys.prefix)
        for name in COPIED:
            self._copy(ROOT / name)

    def follow(self) -> int:
        """Do what the document says; return the number of commands. Raise DocumentWrong where it is."""
        number = 0
        for block in fenced_blocks(self._document.read_text(encoding="utf-8")):
            if block.language not in SHELL_LANGUAGES:
                continue
            place = f"{self._document.name}:{block.line}"
            if block.language != "sh":
                raise DocumentWrong(
                    f"{place}: fence it as sh, so that it is tested, or as text if it is output"
                )
            number += self._follow_block(block, place)
        return number

    def close(self) -> None:
        """End what the document started."""
        for process in (*self._branches, self._coordinator):
            if process is not None:
                process.close()

    def _follow_block(self, block: Block, place: str) -> int:
        commands = list(split_commands(block.text))
        script: list[str] = []  # neighbours share a shell, so that one may set a variable for the next
        for command in commands:
            kind = kind_of(command)
            if kind is Kind.RUN:
                script.append(_with_status(command))
                continue
            self._run(script, place)
            script = []
            match kind:
                case Kind.MAKE:
                    _check_make(command, place)
                case Kind.CONTAINER:
                    _check_files(command, place)
                case Kind.COORDINATOR:
                    self._start_coordinator(command)
                case Kind.BRANCH:
                    self._start_branch(command)
                case Kind.DONE_BEFORE:
                    pass
        self._run(script, place)
        return len(commands)

    def _run(self, script: Sequence[str], place: str) -> None:
        if not script:
            return
        text = "\n".join(script)
        typed = f"{CURL}\n{self._with_free_ports(text)}"
        if self._coordinator is None and re.search(rf"\b({HTTP}|{GRPC})\b", text):
            settings = {"HttpPort": self._ports[HTTP], "GrpcPort": self._ports[GRPC]}
            self._coordinator = CoordinatorProcess(self._folder / "coordinator", settings=settings).start()
        try:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", typed],
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DocumentWrong(f"{place}: still runs after {COMMAND_SECONDS} s:\n{text}") from error
        if done.returncode != 0:
            raise DocumentWrong(
                f"{place}: exit code {done.returncode}:\n{text}\n---- printed:\n{done.stdout}"
            )

    def _start_coordinator(self, command: str) -> None:
        if self._coordinator is not None:
            self._coordinator.close()  # a reader presses Ctrl-C before starting another on the same ports
        url = f"http://127.0.0.1:{self._ports[HTTP]}/api/ready"
        self._coordinator = self._process(
            command, "coordinator", lambda: answers(url) or speaks_tls(self._ports[HTTP])
        )
        self._coordinator.start()

    def _start_branch(self, command: str) -> None:
        found = re.search(r"branches\.(\w+)", command)
        name = found[1] if found else EXAMPLE
        port = self._ports[BRANCHES[name]]
        process = self._process(command, name, lambda: is_listening(port))
        self._branches.append(process)
        process.start()

    def _process(self, command: str, name: str, ready: Callable[[], bool]) -> Process:
        # exec, so that the pid is the program's and not a shell's
        line = "exec " + self._with_free_ports(command).rstrip().removesuffix("&")
        return Process(
            ["bash", "-c", line],
            name=name,
            environment=self._environment(),
            folder=self._folder,
            ready=ready,
        )

    def _environment(self) -> dict[str, str]:
        programs = Path(sys.executable).parent
        return {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "PYTHONPATH": os.pathsep.join([str(self._folder), str(ROOT)]),
            "PYTHONUNBUFFERED": "1",
            "HTTP_PORT": str(self._ports[HTTP]),  # for a `dtm` without a configuration file
            "GRPC_PORT": str(self._ports[GRPC]),
        }

    def _with_free_ports(self, text: str) -> str:
        usual = "|".join(str(port) for port in self._ports)
        return re.sub(rf"\b({usual})\b", lambda match: str(self._ports[int(match[1])]), text)

    def _copy(self, source: Path) -> None:
        for path in [source] if source.is_file() else sorted(source.rglob("*")):
            if path.is_dir() or "__pycache__" in path.parts:
                continue
            target = self._folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in {".yml", ".yaml", ".json", ".py"}:
                target.write_text(self._with_free_ports(path.read_text(encoding="utf-8")), encoding="utf-8")
            else:
                shutil.copyfile(path, target)


def _with_status(command: str) -> str:
    """The command, and that the status which it prints is the one behind `#`."""
    found = re.search(r"%\{http_code\}.*# (\d{3})$", command, re.DOTALL)
    if found is None:
        return command
    return (
        f'status=$({command}\n)\ntest "$status" = {found[1]} || {{ echo "$status, not {found[1]}"; exit 1; }}'
    )


def _check_make(command: str, place: str) -> None:
    words = command.partition("#")[0].split()[1:]
    asked = [word for word in words if "=" not in word and not word.startswith("-")]
    unknown = set(asked) - make_targets()
    if unknown:
        raise DocumentWrong(f"{place}: the Makefile has no target {', '.join(sorted(unknown))}")


def _check_files(command: str, place: str) -> None:
    for flag, name in re.findall(r"(-f|--file)[ =](\S+)", command):
        if not (ROOT / name).is_file():
            raise DocumentWrong(f"{place}: {flag} {name}: there is no such file")
    if " build " in command and not (ROOT / "Dockerfile").is_file():
        raise DocumentWrong(f"{place}: there is no Dockerfile")
