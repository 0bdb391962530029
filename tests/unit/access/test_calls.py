"""Roles and modes against every call of every protocol; who may is the table of docs/security.md.

A call that is new has no row there: WRITE_SECURITY=1 writes it, to be read before it is committed.
"""

import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from coordinator.access.gate import Gate
from coordinator.access.permissions import Mode, Role, anonymous, is_for_clients, is_for_operators, may
from tests.unit.access.calls import TOKENS, Call, KnownTokens, every_call, refusal
from tests.unit.api.fakes import Grpc, Http, grpc_api, http_api

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "security.md"
TABLE = re.compile(
    r"(?<=<!-- calls: made by tests/unit/access/test_calls.py -->\n).*?(?=<!-- end -->)", re.DOTALL
)
HEAD = (
    "| call | permission | port | without a token: `operators` | `all`"
    " | service | viewer | operator | admin |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)
STRANGERS = (Mode.OPERATORS, Mode.ALL)


def row(call: Call) -> str:
    needed = " or ".join(sorted(call.needs.any_of)) or "none"
    strangers = [may(anonymous(mode, metrics_are_open=True), call.needs) for mode in STRANGERS]
    allowed = [*strangers, *(strangers[-1] or may(who, call.needs) for who in TOKENS.values())]
    answers = " | ".join("yes" if it else "–" for it in allowed)
    return f"| {call.protocol} `{call.name}` | {needed} | {ports(call)} | {answers} |\n"


def ports(call: Call) -> str:
    """Where it is answered, where operators have a port of their own."""
    if is_for_clients(call.needs) and is_for_operators(call.needs):
        return "both"
    return "operators'" if is_for_operators(call.needs) else "clients'"


def documented() -> Mapping[str, Sequence[bool]]:
    [table] = TABLE.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert table.startswith(HEAD)
    rows = [line.strip("| ").split(" | ") for line in table.removeprefix(HEAD).splitlines()]
    assert all(answer in {"yes", "–"} for _, _, _, *answers in rows for answer in answers)
    return {call: [answer == "yes" for answer in answers] for call, _, _, *answers in rows}


async def test_the_table_in_the_document_is_that_of_the_registries():
    made = HEAD + "".join(map(row, await every_call()))
    text = DOCUMENT.read_text(encoding="utf-8")
    if os.environ.get("WRITE_SECURITY"):
        DOCUMENT.write_text(TABLE.sub(lambda _: made, text), encoding="utf-8")
    [table] = TABLE.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert table == made


@pytest.fixture
async def servers() -> AsyncIterator[Mapping[Mode, tuple[Http, Grpc]]]:
    async with AsyncExitStack() as stack:
        opened = {}
        for mode in Mode:
            gate = Gate(mode, tokens=KnownTokens())
            http = await stack.enter_async_context(http_api(gate=gate))
            opened[mode] = http, await stack.enter_async_context(grpc_api(gate=gate))
        yield opened


async def test_every_call_lets_in_who_may_and_nobody_else(servers: Mapping[Mode, tuple[Http, Grpc]]):
    for call in await every_call():
        *strangers, service, viewer, operator, admin = documented()[f"{call.protocol} `{call.name}`"]
        for mode, expected in zip(STRANGERS, strangers, strict=True):
            said = await refusal(*servers[mode], call)
            assert bool(said) is not expected, f"{call.name} without a token, {mode}: {said}"
            assert expected or "needs a credential" in said
        for role, expected in zip(Role, (service, viewer, operator, admin), strict=True):
            bearer = {"Authorization": f"Bearer dtm_{role}"}
            said = await refusal(*servers[Mode.ALL], call, bearer)
            assert bool(said) is not expected, f"{call.name} for {role}: {said}"
            assert expected or f"the {role} lacks the permission" in said
            # Who has a token may at least what is everybody's.
            said = await refusal(*servers[Mode.OPERATORS], call, bearer)
            assert bool(said) is not (expected or strangers[0]), f"{call.name} for {role}, operators: {said}"
        assert await refusal(*servers[Mode.OFF], call) == ""
        assert await refusal(*servers[Mode.OFF], call, {"Authorization": "Bearer dtm_nobodys"}) == ""


async def test_what_is_refused_reaches_no_service(servers: Mapping[Mode, tuple[Http, Grpc]]):
    http, grpc = servers[Mode.ALL]
    for call in await every_call():
        await refusal(http, grpc, call)
    assert http.service.asked == grpc.service.asked == []
