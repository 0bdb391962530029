"""The OpenAPI document against the running coordinator.

Schemathesis takes the document that is served, makes requests of it, good and bad, and looks at every answer.
"""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from yarl import URL

from tests.support.branch_server import BranchServer, branch_server
from tests.support.children import child
from tests.support.openapi_aimed import PREPARED, ROLLED_BACK, aimed_requests, begin, first_branch
from tests.support.openapi_hooks import BRANCH_URL, ENDED_FROM, gid_of
from tests.support.three_clients import SUCCESS, client_of
from tests.support.under_test import ROOT, CoordinatorProcess

CHECKS = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
EXAMPLES_PER_OPERATION = 30
ENDED_BEFORE = range(4, 100, 5)
CONFIGURATION = """
[phases.coverage]
unexpected-methods = []  # an unknown method is 404 here, and no operation's answer
"""


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[CoordinatorProcess]:
    process = CoordinatorProcess(tmp_path / "coordinator").start()
    yield process
    print(process.output())
    process.close()


async def served_document(coordinator: CoordinatorProcess) -> str:
    async with ClientSession() as session, session.get(f"{coordinator.http_url}/api/openapi.json") as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
        return await answer.text()


async def begin_some(coordinator: CoordinatorProcess, branches: BranchServer) -> None:
    """Prepare what schemathesis would rarely put together: branches of what is submitted or aborted."""
    url = branches.url("http", "ok")
    async with client_of("http", coordinator) as client:
        for number in (*range(5), *range(ENDED_FROM, ENDED_FROM + 5)):
            for trans_type in ("tcc", "xa"):
                begun = {"gid": gid_of(trans_type, number), "trans_type": trans_type}
                branch = begun | {"branch_id": "00", "confirm": url, "cancel": url, "url": url}
                assert (await client.ask("prepare", begun)).kind == SUCCESS
                assert (await client.ask("registerBranch", branch)).kind == SUCCESS
        for gid, trans_type in PREPARED.items():
            assert (await client.ask("prepare", begin(gid, trans_type))).kind == SUCCESS
            if not gid.endswith("registered-to"):
                assert (
                    await client.ask("registerBranch", first_branch(gid, trans_type, url))
                ).kind == SUCCESS
        for trans_type, gid in ROLLED_BACK.items():
            assert (await client.ask("prepare", begin(gid, trans_type))).kind == SUCCESS
            assert (await client.ask("abort", begin(gid, trans_type))).kind == SUCCESS
        for number in ENDED_BEFORE:
            begun = {"gid": gid_of("tcc", number), "trans_type": "tcc"}
            assert (await client.ask("prepare", begun)).kind == SUCCESS
            assert (await client.ask("abort", begun)).kind == SUCCESS
        for number in range(ENDED_FROM, ENDED_FROM + 5):
            saga = {"gid": gid_of("saga", number), "trans_type": "saga"}
            assert (await client.ask("prepare", saga)).kind == SUCCESS


def callable_document(text: str, branches: BranchServer) -> dict[str, Any]:
    """The document with urls that can be called, and are nobody else's."""
    text = re.sub(r"http://localhost:8000/[a-z-]+(\?method=[a-z-]+)?", branches.url("http", "ok"), text)
    document: dict[str, Any] = json.loads(text)
    urls = [branches.url("http", answer) for answer in ("ok", "fine", "fail")]
    document["components"]["schemas"]["BranchUrl"] = {"enum": ["", "topic://orders", *urls]}
    return document


def answered(entry: dict[str, Any]) -> tuple[int, str, str]:
    """What was asked and answered, in the form of `Aimed.answered`."""
    try:
        body = json.dumps(json.loads(entry["request"]["postData"]["text"]), sort_keys=True)
    except (KeyError, ValueError):  # without a body, or not JSON's
        body = ""
    return entry["response"]["status"], str(URL(entry["request"]["url"]).relative()), body


@pytest.mark.timeout(300)
async def test_every_answer_is_one_that_the_document_describes(
    coordinator: CoordinatorProcess, tmp_path: Path, seed: int
) -> None:
    async with branch_server() as branches:
        await begin_some(coordinator, branches)
        document = callable_document(await served_document(coordinator), branches)
        (tmp_path / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
        (tmp_path / "schemathesis.toml").write_text(CONFIGURATION, encoding="utf-8")
        options = (
            *(f"--url={coordinator.http_url}", f"--checks={','.join(CHECKS)}", f"--seed={seed}"),
            *(f"--max-examples={EXAMPLES_PER_OPERATION}", "--request-timeout=10", "--continue-on-failure"),
            *("--generation-database=none", "--warnings=off", "--no-color", "--report=har"),
            "--report-har-path=requests.har",
        )
        succeeds = branches.url("http", "ok")
        environment = {
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.support.openapi_hooks",
            BRANCH_URL: succeeds,
        }
        command = (sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", *options)
        async with child(*command, environment=os.environ | environment, folder=tmp_path) as process:
            output = (await process.communicate())[0].decode()
    print(output)
    assert process.returncode == 0, "schemathesis has found something, see its output"
    assert coordinator.is_running
    assert '"stacktrace"' not in coordinator.output()
    made = json.loads((tmp_path / "requests.har").read_text(encoding="utf-8"))["log"]["entries"]
    seen = {answered(entry) for entry in made}
    aimed = {it.answered for it in aimed_requests(succeeds)}
    assert sorted(aimed - seen) == [], "schemathesis was not answered so"
    assert {"action", "confirm", "cancel", "commit", "rollback"} <= {it.op for it in branches.asked}
