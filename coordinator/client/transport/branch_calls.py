"""Calling a branch from the client itself: a try of TCC, an action of XA, steps of a workflow (§10)."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import orjson

from coordinator.client.errors import DtmError, InvalidUse, Said
from coordinator.client.transport.answers import Result, message_of, raise_for_branch, result_of_text
from coordinator.client.transport.said import said_by
from coordinator.client.transport.tracing import send_trace, trace_headers
from coordinator.discovery.logins import shown_url

if TYPE_CHECKING:
    import aiohttp
    from grpclib.client import Channel

_HTTP_RESULTS: Final = {200: Result.SUCCESS, 409: Result.FAILURE, 425: Result.ONGOING}
_GRPC_RESULTS: Final = {10: Result.FAILURE, 9: Result.ONGOING}  # ABORTED, FAILED_PRECONDITION


@dataclass(frozen=True, slots=True)
class BranchCall:
    """One call of one branch. more: further fields of the context, such as XA's `phase2_url`."""

    url: str
    payload: bytes
    gid: str
    trans_type: str
    branch_id: str
    op: str
    headers: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, str] = field(default_factory=dict)
    always_post: bool = False  # xa

    @property
    def method(self) -> str:
        """HTTP's method; empty when it goes over gRPC."""
        if not self.url.startswith(("http://", "https://")):
            return ""
        return "POST" if self.payload or self.always_post else "GET"

    def said(self, status: int, raw: str) -> Said:
        """What this branch answered."""
        return said_by(shown_url(self.url), self.branch_id, self.op, status, raw)

    @property
    def context(self) -> dict[str, str]:
        """What the branch reads as its BranchContext."""
        return {
            "gid": self.gid,
            "trans_type": self.trans_type,
            "branch_id": self.branch_id,
            "op": self.op,
            **self.more,
        }


@dataclass(frozen=True, slots=True)
class BranchAnswer:
    """What a branch answered with its success (PROTOCOL §2)."""

    body: bytes

    def json(self) -> Any:
        """Return the decoded JSON, None for an empty body. Raises DtmError for anything else."""
        if not self.body:
            return None
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise DtmError(f"the branch answered no JSON: {self.body[:200]!r}") from error


class Branches(Protocol):
    """Calls branches from here."""

    async def call(self, call: BranchCall, timeout: float) -> BranchAnswer:
        """Call once; see BranchCaller."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class BranchCaller:
    """Pooled connections to branches, made when first needed, as are aiohttp and grpclib loaded."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._channels: dict[str, Channel] = {}

    async def call(self, call: BranchCall, timeout: float) -> BranchAnswer:
        """Call once; seconds for all of it.

        Raises Failure and Ongoing as the branch said; DtmError where the result is not known (another
        status, time-out, broken connection); InvalidUse for a url that cannot be called from here.
        """
        if call.method:
            return await self._over_http(call, timeout)
        return await self._over_grpc(call, timeout)

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()

    async def _over_http(self, call: BranchCall, timeout: float) -> BranchAnswer:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                # As many connections as calls: one that waited for another's would do so in its own time-out.
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),  # transactions share no session
            )
        try:
            async with self._session.request(
                call.method,
                with_query(call.url, call.context),
                data=call.payload or None,
                headers={"Content-Type": "application/json", **call.headers, **trace_headers()},
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as response:
                status, body = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _no_answer(call, error, timeout) from error
        raw = text = body.decode(errors="replace")
        result = result_of_text(_HTTP_RESULTS.get(status, Result.ERROR), text)
        if result is Result.SUCCESS:
            return BranchAnswer(body)
        text = message_of(text)
        if result is Result.ERROR:
            text = f"HTTP {status} {text}"
        raise_for_branch(result, text, call.gid, call.said(status, raw))
        raise AssertionError("raise_for_branch returns only for success")

    async def _over_grpc(self, call: BranchCall, timeout: float) -> BranchAnswer:
        from grpclib.const import Cardinality
        from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

        channel, path = self._channel(call.url)
        metadata = {
            **{name.lower(): value for name, value in call.headers.items()},
            **{f"dtm-{name}": value for name, value in call.context.items() if value},
        }
        try:
            async with (
                asyncio.timeout(timeout),
                channel.request(path, Cardinality.UNARY_UNARY, bytes, bytes, metadata=metadata) as stream,
            ):
                await stream.send_message(call.payload, end=True)
                body = await stream.recv_message()
        except GRPCError as error:
            text = error.message or ""
            result = _GRPC_RESULTS.get(error.status.value, Result.ERROR)
            if result is Result.FAILURE and text == "ONGOING":
                result = Result.ONGOING
            raise_for_branch(
                result,
                text if result is not Result.ERROR else f"{error.status.name} {text}",
                call.gid,
                call.said(error.status.value, text),
            )
            raise AssertionError("raise_for_branch returns only for success") from error
        except (StreamTerminatedError, ProtocolError, OSError, TimeoutError) as error:
            raise _no_answer(call, error, timeout) from error
        return BranchAnswer(body or b"")

    def _channel(self, url: str) -> "tuple[Channel, str]":
        address, slash, method = url.partition("/")
        host, colon, port = address.rpartition(":")
        if "://" in url or not (slash and colon and port.isdigit() and "/" in method):
            raise InvalidUse(
                f"{url!r} cannot be called from here: write http://host:port/path, or "
                "host:port/package.Service/Method for gRPC"
            )
        if address not in self._channels:
            from grpclib.client import Channel

            codec: Any = _BytesCodec()
            channel = Channel(host.strip("[]"), int(port), codec=codec)
            send_trace(channel)
            self._channels[address] = channel
        return self._channels[address], f"/{method}"


class _BytesCodec:
    """A codec of grpclib: messages as the bytes they are, under the name that every gRPC server takes."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


def with_query(url: str, added: Mapping[str, str]) -> str:
    """Return the url with further query parameters; those it has are kept unless they are named again."""
    parts = urlsplit(url)
    kept = [
        (name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in added
    ]
    return urlunsplit(parts._replace(query=urlencode([*kept, *added.items()])))


def _no_answer(call: BranchCall, error: BaseException, timeout: float) -> DtmError:
    what = (
        f"did not answer within {timeout:.1f} s"
        if isinstance(error, TimeoutError)
        else f"gave no answer: {error}"
    )
    return DtmError(f"{call.url} {what}: not known whether it was done", gid=call.gid)
