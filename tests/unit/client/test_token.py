"""A client's token: sent with every call of the coordinator, and to nobody else."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

import coordinator.client.sync
from coordinator.access.gate import Gate
from coordinator.access.permissions import Mode
from coordinator.client import Dtm, DtmError, InvalidUse
from coordinator.client.transport.branch_calls import BranchCall
from coordinator.client.transport.open import Urls
from tests.unit.access.calls import KnownTokens
from tests.unit.api.fakes import HOST, Parts, grpc_api, http_api

TOKEN = "dtm_service"


@pytest.fixture(params=["http", "grpc", "direct"])
async def guarded(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Parts, str]]:
    """A coordinator that wants tokens, and its url."""
    gate = Gate(Mode.ALL, tokens=KnownTokens())
    async with AsyncExitStack() as stack:
        open_api = http_api if request.param == "http" else grpc_api
        parts: Parts = await stack.enter_async_context(open_api(gate=gate))
        url = f"{request.param}://{'/' if request.param == 'direct' else ''}{HOST}:{parts.port}"
        yield parts, url


async def test_it_is_sent_with_every_call(guarded: tuple[Parts, str]) -> None:
    parts, url = guarded
    async with Dtm(url, token=TOKEN) as dtm:
        await dtm.saga("g1").add("").submit()
        await dtm.subscribe("orders", "http://shop/paid")
    assert [name for name, _ in parts.service.asked] == ["submit", "subscribe"]


async def test_without_it_the_error_says_what_is_wanted(guarded: tuple[Parts, str]) -> None:
    parts, url = guarded
    for token, said in (("", "needs a credential"), ("dtm_viewer", "lacks the permission submit")):
        async with Dtm(url, token=token) as dtm:
            with pytest.raises(DtmError, match=said):
                await dtm.saga("g1").add("").submit()
    assert parts.service.asked == []


async def test_no_branch_hears_of_it(guarded: tuple[Parts, str]) -> None:
    """The coordinator stands in for a branch: it tells whether it was shown a token."""
    _, url = guarded
    branch = url.replace("grpc://", "").replace("direct:///", "")
    branch += "/api/dtmsvr/newGid" if url.startswith("http") else "/dtmgimp.Dtm/NewGid"
    async with Dtm(url, token=TOKEN) as dtm:
        with pytest.raises(DtmError, match="needs a credential"):
            await dtm.coordinator.call_branch(BranchCall(branch, b"", "g1", "tcc", "01", "try"), 5)


def test_the_blocking_client_takes_it_too() -> None:
    opener = coordinator.client.sync.Dtm("http://localhost", token=TOKEN).inner._opener
    assert isinstance(opener, Urls)
    assert opener.token == TOKEN


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "ä", "a\0"])
def test_what_no_header_takes_is_refused_without_being_told(token: str) -> None:
    with pytest.raises(InvalidUse) as refused:
        Dtm("http://localhost", token=token)
    assert token not in str(refused.value)


def test_a_login_leaves_no_place_for_it() -> None:
    with pytest.raises(InvalidUse, match="brings a login: with a token there is no place for it"):
        Dtm("http://user:password@localhost", token=TOKEN)
