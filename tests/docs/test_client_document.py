"""The programs in docs/client.md are Python, and every name that they take from the client is there."""

import ast
import builtins

import pytest

import coordinator.client
import coordinator.client.sync
import coordinator.testing
from tests.support.documents import ROOT, Block, fenced_blocks

DOCUMENT = ROOT / "docs" / "client.md"
BLOCKS = [one for one in fenced_blocks(DOCUMENT.read_text(encoding="utf-8")) if one.language == "python"]
# What a snippet may take for granted: names of the reader's own service and libraries.
READERS_OWN = {
    *("ann", "bob", "bank", "shop", "mail", "user", "score", "connection", "pool", "request", "application"),
    *("connect", "choose_number", "write_log", "save_order", "Shop", "web", "aiomysql", "Any", "dtm"),
    *("flask", "redis", "msg"),
}
KNOWN = {
    *dir(builtins),
    *coordinator.client.__all__,
    *coordinator.client.sync.__all__,
    *coordinator.testing.__all__,
    *READERS_OWN,
}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"line-{block.line}")
def test_a_snippet_is_python_and_its_names_are_there(block: Block) -> None:
    tree = compile(
        block.text,
        "client.md",
        "exec",
        ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
    )
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    made = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            made |= {node.name, *(one.arg for one in (*node.args.args, *node.args.kwonlyargs))}
        if isinstance(node, ast.ImportFrom):
            made |= {alias.name for alias in node.names}
    unknown = {name.id for name in names} - made - KNOWN
    assert not unknown, f"docs/client.md:{block.line} uses {unknown}"


@pytest.mark.parametrize(
    ("owner", "methods"),
    [
        (coordinator.client.Dtm, "saga tcc nested_tcc msg xa nested_xa xa_branch subscribe unsubscribe wait"),
        (coordinator.client.Workflow, "saga tcc xa do"),
        (coordinator.client.Workflows, "execute handler service"),
        (coordinator.client.Msg, "add add_topic do_and_submit submit prepare sender"),
        (coordinator.client.RedisBarrier, "adjust call"),
        (coordinator.client.sync.Dtm, "xa_branch tcc"),
        (coordinator.client.sync.Workflows, "answer wsgi execute"),
        (coordinator.client.sync.Workflow, "saga xa do"),
        (coordinator.testing.Kit, "advance branches dtm"),
    ],
)
def test_the_methods_that_the_document_names_are_there(owner: type, methods: str) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for method in methods.split():
        assert hasattr(owner, method) or method == "branches", method
        assert method in text
