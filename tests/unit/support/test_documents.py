"""How a document's commands are found and told apart."""

import contextlib
from pathlib import Path

import pytest

from tests.support.documents import Kind, fenced_blocks, kind_of, make_targets, split_commands
from tests.support.reader import DocumentWrong, Reader

DOCUMENT = """\
# Title

```sh
make demo   # everything
```

1. In a list:

   ```sh
   echo one
   ```

```json
{"not": "a command"}
```
"""


def test_blocks_know_their_language_and_line():
    found = [(block.language, block.line, block.text) for block in fenced_blocks(DOCUMENT)]
    assert found == [
        ("sh", 4, "make demo   # everything"),
        ("sh", 10, "echo one"),
        ("json", 14, '{"not": "a command"}'),
    ]


def test_a_command_keeps_its_further_lines():
    text = """\
# a comment
curl -d '{
  "gid": "a"
}' \\
  http://localhost:36789/

cat <<END
# not a comment
END
for word in a b; do
    echo $word
done
"""
    commands = list(split_commands(text))
    assert [command.split()[0] for command in commands] == ["curl", "cat", "for"]
    assert commands[1] == "cat <<END\n# not a comment\nEND"


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("make test", Kind.MAKE),
        ("git clone somewhere", Kind.DONE_BEFORE),
        ("cd dtm-coordinator", Kind.DONE_BEFORE),
        ("python3 -m venv .venv", Kind.DONE_BEFORE),
        (".venv/bin/pip install dtm-coordinator", Kind.DONE_BEFORE),
        ("docker compose -f conf/docker-compose.yml up", Kind.CONTAINER),
        ("dtm", Kind.COORDINATOR),
        (".venv/bin/dtm -c conf.yml", Kind.COORDINATOR),
        ("HTTP_PORT=1 dtm", Kind.COORDINATOR),
        ("dtm &", Kind.COORDINATOR),
        ("python -m coordinator", Kind.COORDINATOR),
        ("dtm check -c conf.yml", Kind.RUN),
        ("dtm -v", Kind.RUN),
        ("python -m branches.user -f conf/user.yaml", Kind.BRANCH),
        ("python -m examples.saga", Kind.RUN),
        ("git status", Kind.RUN),
        ("curl localhost:36789/api/ping", Kind.RUN),
    ],
)
def test_what_becomes_of_a_command(command: str, kind: Kind):
    assert kind_of(command) is kind


def test_make_knows_its_targets():
    assert {
        "install",
        "demo",
        "format",
        "lint",
        "test",
        "simulate",
        "chaos",
        "bench",
        "proto",
    } <= make_targets()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "reader").mkdir()
    return tmp_path


def follow(markdown: str, folder: Path) -> int:
    document = folder / "document.md"
    document.write_text(markdown, encoding="utf-8")
    reader = Reader(document, folder / "reader")
    try:
        return reader.follow()
    finally:
        reader.close()


def test_commands_of_a_block_share_variables_and_all_share_the_folder(folder: Path):
    assert follow('```sh\nname=x\necho "$name" > file\n```\n```sh\ngrep x file\n```', folder) == 3


def test_a_command_that_fails_is_named_with_its_place_and_output(folder: Path):
    with pytest.raises(DocumentWrong, match=r"(?s)document.md:4: exit code 3.*sorry"):
        follow("# Title\n\n```sh\necho sorry; exit 3\n```\n", folder)


def test_a_make_target_that_is_not_there_is_named(folder: Path):
    with pytest.raises(DocumentWrong, match="no target coffee"):
        follow("```sh\nmake coffee SEED=7\n```\n", folder)


def test_a_compose_file_that_is_not_there_is_named(folder: Path):
    with pytest.raises(DocumentWrong, match="no such file"):
        follow("```sh\ndocker compose -f conf/nothing.yml up\n```\n", folder)


def test_shell_fenced_as_something_else_is_refused(folder: Path):
    with pytest.raises(DocumentWrong, match="fence it as sh"):
        follow("```bash\necho hello\n```\n", folder)


@pytest.mark.parametrize(("status", "problem"), [("404", ""), ("200", "404, not 200")])
def test_a_status_that_the_document_promises_has_to_come(folder: Path, status: str, problem: str):
    asked = f"curl -s -o out.txt -w '%{{http_code}}\\n' http://localhost:36789/nowhere  # {status}"
    with pytest.raises(DocumentWrong, match=problem) if problem else contextlib.nullcontext():
        assert follow(f"```sh\n{asked}\n```\n", folder) == 1
