"""Calls a branch by the protocol that its url and transaction name, within its endpoint's places."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from coordinator.calls.answers import unknown
from coordinator.calls.base import SUCCESS, Answer
from coordinator.calls.deadlines import Deadlines
from coordinator.calls.grpc import GrpcCaller
from coordinator.calls.http import HttpCaller
from coordinator.calls.jsonrpc import call_json_rpc
from coordinator.calls.places import Places
from coordinator.calls.url import GrpcUrl, HttpUrl, is_http, parse_grpc_url, parse_http_url
from coordinator.discovery.base import Resolver
from coordinator.discovery.target import shown
from coordinator.model import PROTOCOL_GRPC, PROTOCOL_JSON_RPC, Branch, Transaction

_URLS_REMEMBERED_MAX: Final = 4096  # parsed urls; a parse costs a tenth of a call


class BranchCaller:
    """The `Caller` of the running server. To be made and used on one running event loop.

    resolver: finds the endpoints of gRPC targets; its owner closes it.
    endpoint_concurrency_max: calls at a time to one endpoint (scheme, host and port; or gRPC target).
    endpoint_queue_max: how many more may wait for a place there.
    answer_bytes_max: of a longer HTTP answer only the beginning counts; a longer gRPC reply is UNKNOWN.
    redirects_max: HTTP redirects followed per call.
    channels_max: gRPC connections at a time. channel_idle_seconds: how long an unused one is kept.
    """

    def __init__(
        self,
        resolver: Resolver,
        *,
        endpoint_concurrency_max: int = 256,
        endpoint_queue_max: int = 10_000,
        answer_bytes_max: int = 1 << 20,
        redirects_max: int = 5,
        channels_max: int = 1024,
        channel_idle_seconds: float = 300.0,
        user_agent: str = "dtm-coordinator",
    ) -> None:
        deadlines = Deadlines()
        self._places = Places(running_max=endpoint_concurrency_max, waiting_max=endpoint_queue_max)
        self._http = HttpCaller(
            answer_bytes_max=answer_bytes_max,
            redirects_max=redirects_max,
            user_agent=user_agent,
            deadlines=deadlines,
        )
        self._grpc = GrpcCaller(
            resolver,
            reply_bytes_max=max(answer_bytes_max, 4 << 20),  # what Go clients take by default
            channels_max=channels_max,
            idle_seconds=channel_idle_seconds,
            deadlines=deadlines,
        )
        self._http_url = lru_cache(_URLS_REMEMBERED_MAX)(parse_http_url)
        self._grpc_url = lru_cache(_URLS_REMEMBERED_MAX)(parse_grpc_url)

    async def call(
        self, transaction: Transaction, branch: Branch, *, timeout: float, patience: float
    ) -> Answer:
        """Call the branch; see `Caller.call`. An empty url is success without a call."""
        if not branch.url:
            return SUCCESS
        url: HttpUrl | GrpcUrl
        try:
            if transaction.protocol == PROTOCOL_GRPC and not is_http(branch.url):
                url = self._grpc_url(branch.url)
                endpoint = url.target
            else:
                url = self._http_url(branch.url)
                endpoint = url.endpoint
        except ValueError as error:
            return unknown(f"the url '{branch.url}' {error}")
        if not self._places.try_enter(endpoint) and not await self._places.enter(endpoint, patience):
            return unknown(
                f"endpoint {shown(endpoint)} is busy: {self._places.running(endpoint)} calls are running"
            )
        try:
            if isinstance(url, GrpcUrl):
                return await self._grpc.call(transaction, branch, url, timeout)
            if transaction.protocol == PROTOCOL_JSON_RPC and "method" in branch.url:
                return await call_json_rpc(self._http, transaction, branch, url, timeout)
            return await self._http.call(transaction, branch, url, timeout)
        finally:
            self._places.leave(endpoint)

    def in_flight(self) -> Mapping[str, int]:
        """How many calls run now, by endpoint as it may be shown."""
        return {shown(endpoint): number for endpoint, number in self._places.by_endpoint().items()}

    async def close(self) -> None:
        """Close the pooled connections. Calls that still run end with UNKNOWN."""
        await self._http.close()
        await self._grpc.close()
