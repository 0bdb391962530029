"""Calls a branch by the protocol that its url and transaction name."""

from functools import lru_cache
from typing import Final

from coordinator.attempt import Kind
from coordinator.calls.answers import unknown
from coordinator.calls.base import SUCCESS, Answer
from coordinator.calls.connect import Reach
from coordinator.calls.grpc import GrpcCaller
from coordinator.calls.http import USER_AGENT, HttpCaller
from coordinator.calls.jsonrpc import call_json_rpc
from coordinator.calls.places import Places
from coordinator.calls.url import GrpcUrl, HttpUrl, is_http, parse_grpc_url, parse_http_url
from coordinator.deadlines import Deadlines
from coordinator.discovery.base import Resolver
from coordinator.discovery.names import Names
from coordinator.model import PROTOCOL_GRPC, PROTOCOL_JSON_RPC, Branch, Transaction
from coordinator.results import plain_url
from coordinator.tls import ClientTls

_URLS_REMEMBERED_MAX: Final = 4096  # parsed urls; a parse costs a tenth of a call


class BranchCaller:
    """The `Caller` of the running server. To be made and used on one running event loop.

    resolver: finds the endpoints of gRPC targets; its owner closes it.
    answer_bytes_max: of a longer HTTP answer only the beginning counts; a longer gRPC reply is UNKNOWN.
    redirects_max: HTTP redirects followed per call.
    channels_max: gRPC connections at a time. channel_idle_seconds: how long an unused one is kept.
    names: looks hosts up; its owner closes it. None: one of its own.
    places: where calls may go. None: anywhere but where no branch lives. tls: what encrypted connections are
    made with; None: what the system trusts.
    """

    def __init__(
        self,
        resolver: Resolver,
        *,
        answer_bytes_max: int = 1 << 20,
        redirects_max: int = 5,
        channels_max: int = 1024,
        channel_idle_seconds: float = 300.0,
        user_agent: str = USER_AGENT,
        names: Names | None = None,
        places: Places | None = None,
        tls: ClientTls | None = None,
    ) -> None:
        deadlines = Deadlines()
        self._is_names_owner = names is None
        self._names = names or Names()
        reach = Reach(self._names, places or Places(), tls)
        self._http = HttpCaller(
            answer_bytes_max=answer_bytes_max,
            redirects_max=redirects_max,
            user_agent=user_agent,
            deadlines=deadlines,
            reach=reach,
        )
        self._grpc = GrpcCaller(
            resolver,
            reply_bytes_max=max(answer_bytes_max, 4 << 20),  # what Go clients take by default
            channels_max=channels_max,
            idle_seconds=channel_idle_seconds,
            deadlines=deadlines,
            reach=reach,
        )
        self._read = lru_cache(_URLS_REMEMBERED_MAX)(_read)

    def endpoint(self, transaction: Transaction, branch: Branch) -> str:
        """See Caller."""
        if not branch.url:
            return ""
        try:
            url = self._read(branch.url, transaction.protocol == PROTOCOL_GRPC)
        except ValueError:
            return ""
        return url.target if isinstance(url, GrpcUrl) else url.endpoint

    async def call(self, transaction: Transaction, branch: Branch, *, timeout: float) -> Answer:
        """Call the branch; see Caller. An empty url is success without a call."""
        if not branch.url:
            return SUCCESS
        try:
            url = self._read(branch.url, transaction.protocol == PROTOCOL_GRPC)
        except ValueError as error:
            return unknown(f"the url '{plain_url(branch.url)}' {error}", Kind.URL)
        if isinstance(url, GrpcUrl):
            return await self._grpc.call(transaction, branch, url, timeout)
        if transaction.protocol == PROTOCOL_JSON_RPC and "method" in branch.url:
            return await call_json_rpc(self._http, transaction, branch, url, timeout)
        return await self._http.call(transaction, branch, url, timeout)

    async def close(self) -> None:
        """Close the pooled connections. Calls that still run end with UNKNOWN."""
        await self._http.close()
        await self._grpc.close()
        if self._is_names_owner:
            await self._names.close()


def _read(url: str, is_grpc: bool) -> HttpUrl | GrpcUrl:
    """What a stored url means. is_grpc: what its transaction's protocol is. Raises ValueError."""
    url = plain_url(url)
    return parse_grpc_url(url) if is_grpc and not is_http(url) else parse_http_url(url)
