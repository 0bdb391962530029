"""Payloads and credentials of a transaction: shown to who has `read.payload`, over HTTP and gRPC alike."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from coordinator.access.gate import Gate
from coordinator.access.permissions import ANYBODY, ROLES, Mode, Principal, Role, anonymous
from coordinator.api.masking import explained_to, page_shown_to, progress_shown_to, shown_to, value_shown_to
from coordinator.explain.play import Rows
from coordinator.model import EPOCH, Branch, Options, Status, Transaction
from coordinator.proto.dtmcoordinator import GidRequest, ListRequest, OperatorStub
from coordinator.proto.dtmgimp import DtmRequest, DtmStub
from coordinator.store.base import KeyValue, Stored
from tests.support.explained import explained
from tests.unit.access.calls import KnownTokens, http_call
from tests.unit.api.fakes import grpc_api, http_api

HEADERS = {
    "Authorization": "Bearer s3cret",
    "X-Api-Key": "s3cret",
    "cookie": "s3cret",
    "X-Auth": "s3cret",
    "X-Tenant": "shown",
    "x-session-token": "s3cret",
    "Proxy-Authorization": "s3cret",
}
ANSWER = "\x1b[2J" + "no pear " * 120
STORED = Stored(
    Transaction(
        gid="g1",
        trans_type="workflow",
        status=Status.SUBMITTED,
        query_prepared="http://shop:s3cret@host/query?token=s3cret&a=shown",
        options=Options(branch_headers=HEADERS, step_headers={"01": HEADERS}),
        custom_data='{"name":"wf","data":"payload"}',
        result="payload",
        rollback_reason=f"url:http://shop:s3cret@host/a?token=s3cret return failed: {ANSWER} FAILURE",
    ),
    (Branch("g1", "01", "action", "http://shop:s3cret@host/a", b"payload"),),
)
WITHOUT = (anonymous(Mode.OPERATORS, metrics_are_open=True), Principal("x", ROLES[Role.SERVICE]))


@pytest.mark.parametrize(
    ("who", "shown"),
    [
        (ANYBODY, {"01": b"7"}),
        (Principal("x", ROLES[Role.SERVICE]), {"01": b"7"}),
        (Principal("x", ROLES[Role.VIEWER]), {"01": None}),
    ],
)
def test_what_a_step_answered_is_shown_to_who_sees_payloads(who: Principal, shown: Any) -> None:
    rows = Rows(replace(STORED.transaction, trans_type="saga", status=Status.SUCCEED), ())
    assert explained_to(who, replace(explained(rows, (), EPOCH), results={"01": b"7"})).results == shown


def said(stored: Stored | None) -> str:
    return repr(stored)


@pytest.mark.parametrize(
    "who", [ANYBODY, *(Principal("x", ROLES[role]) for role in (Role.OPERATOR, Role.ADMIN))]
)
def test_all_is_shown_to_who_has_the_permission(who: Principal) -> None:
    assert shown_to(who, STORED) is STORED
    page = [STORED.transaction]
    assert page_shown_to(who, page) is page


@pytest.mark.parametrize("who", WITHOUT)
def test_who_uses_the_transaction_api_sees_its_payloads_and_no_credentials(who: Principal) -> None:
    shown = said(shown_to(who, STORED))
    assert "s3cret" not in shown
    assert shown.count("payload") == said(STORED).count("payload")
    assert shown.count("shown") == said(STORED).count("shown")


def test_a_viewer_sees_neither() -> None:
    viewer = Principal("x", ROLES[Role.VIEWER])
    shown = said(shown_to(viewer, STORED))
    assert "s3cret" not in shown
    assert "b'payload'" not in shown
    assert '"payload"' not in shown
    assert "result='payload'" not in shown
    assert "g1" in shown
    page = said(Stored(page_shown_to(viewer, [STORED.transaction])[0], ()))
    assert "s3cret" not in page
    assert shown_to(viewer, None) is None


@pytest.mark.parametrize("who", [*WITHOUT, Principal("x", ROLES[Role.VIEWER])])
def test_what_a_branch_answered_is_cleaned_and_cut(who: Principal) -> None:
    [shown] = page_shown_to(who, [STORED.transaction])
    reason = shown.rollback_reason
    assert len(reason.encode()) <= 1024
    assert reason.startswith("url:http://shop:…@host/a?token=… return failed: \\x1b[2Jno pear")
    assert reason.endswith("no pear  FAILURE")
    wide = replace(STORED.transaction, rollback_reason="梨" * 1024)
    assert len(page_shown_to(who, [wide])[0].rollback_reason.encode()) <= 1024


@pytest.mark.parametrize("who", WITHOUT)
def test_the_client_of_a_workflow_keeps_its_headers_until_it_has_ended(who: Principal) -> None:
    running = progress_shown_to(who, STORED)
    assert running.transaction.options is STORED.transaction.options
    assert (running.branches[0].payload, running.branches[0].url) == (b"payload", "http://shop:…@host/a")
    assert "s3cret" not in said(replace(running, transaction=replace(running.transaction, options=Options())))
    ended = replace(STORED, transaction=replace(STORED.transaction, status=Status.SUCCEED))
    assert "s3cret" not in said(progress_shown_to(who, ended))
    assert progress_shown_to(who, ended).branches[0].payload == b"payload"
    assert progress_shown_to(ANYBODY, ended) is ended


def test_urls_of_topics_have_no_password() -> None:
    row = KeyValue("topics", "t", '[{"url":"http://shop:s3cret@host/a","remark":"x"},{"url":"http://b/c"}]')
    viewer = Principal("x", ROLES[Role.VIEWER])
    shown = value_shown_to(viewer, row).value
    assert json.loads(shown) == [{"url": "http://shop:…@host/a", "remark": "x"}, {"url": "http://b/c"}]
    assert value_shown_to(ANYBODY, row) is row


PREPARE = '{"gid":"g1","trans_type":"workflow"}'


async def test_a_workflow_that_has_ended_hands_out_no_credentials() -> None:
    ended = replace(STORED, transaction=replace(STORED.transaction, status=Status.FAILED))
    request = DtmRequest(gid="g1", trans_type="workflow")
    for mode, sees in ((Mode.OFF, True), (Mode.OPERATORS, False)):
        async with http_api(gate=Gate(mode)) as http, grpc_api(gate=Gate(mode)) as grpc:
            http.service.stored = grpc.service.stored = ended
            _, text = await http_call(http, "POST", "/api/dtmsvr/prepareWorkflow", PREPARE)
            assert ("s3cret" in text) is sees
            reply = await DtmStub(grpc.channel).prepare_workflow(request)
            assert ("s3cret" in str(reply)) is sees
            assert "payload" in str(reply)


async def test_over_grpc_too() -> None:
    async with grpc_api(gate=Gate(Mode.ALL, tokens=KnownTokens())) as grpc:
        grpc.service.stored = STORED
        grpc.service.transactions = (STORED.transaction,)
        operator = OperatorStub(grpc.channel)
        for role, sees in ((Role.VIEWER, False), (Role.OPERATOR, True)):
            bearer = {"authorization": f"Bearer dtm_{role}"}
            found = await operator.query(GidRequest(gid="g1"), metadata=bearer)
            listed = await operator.list(ListRequest(), metadata=bearer)
            assert ("s3cret" in str(found)) is ("s3cret" in str(listed)) is sees
            assert (b"payload" in bytes(found)) is sees


async def test_values_over_http() -> None:
    async with http_api(gate=Gate(Mode.ALL, tokens=KnownTokens())) as http:
        http.service.values = (KeyValue("topics", "t", '[{"url":"http://shop:s3cret@host/a"}]'),)
        for role, sees in ((Role.VIEWER, False), (Role.OPERATOR, True)):
            for call in ("scanKV?cat=topics", "queryKV?cat=topics&key=t"):
                bearer = {"Authorization": f"Bearer dtm_{role}"}
                _, text = await http_call(http, "GET", f"/api/dtmsvr/{call}", None, bearer)
                assert ("s3cret" in text) is sees


async def test_it_is_so_over_http() -> None:
    async with http_api(gate=Gate(Mode.ALL, tokens=KnownTokens())) as http:
        http.service.stored = STORED
        http.service.transactions = (STORED.transaction,)

        async def ask(path: str, role: str) -> Mapping[str, Any]:
            status, text = await http_call(http, "GET", path, None, {"Authorization": f"Bearer dtm_{role}"})
            assert status == 200
            answer: Mapping[str, Any] = json.loads(text)
            return answer

        for role, sees in (("viewer", False), ("service", False), ("operator", True)):
            assert ("s3cret" in str(await ask("/api/dtmsvr/query?gid=g1", role))) is sees
        for role, sees in (("viewer", False), ("operator", True)):
            assert ("s3cret" in str(await ask("/api/dtmsvr/all", role))) is sees
