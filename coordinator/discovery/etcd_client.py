"""etcd, as far as registering and resolving need it, over etcd3-py and its JSON gateway.

etcd3-py 0.1.6 knows one host. While it is constructed it asks that host for its version, blocking, and raises
AttributeError when the host is away. With today's aiohttp it cannot read streams, and where it can it loses
events. So hosts are tried in turn here, the version is asked for beforehand, and the two streaming calls,
keep-alive and watch, are read from the raw response. To import it takes half a second: not on the loop.
"""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import aiohttp
from aiohappyeyeballs import AddrInfoType
from etcd3 import AioClient
from etcd3.baseclient import sem
from etcd3.errors import Etcd3Exception
from etcd3.utils import incr_last_byte

from coordinator.discovery.base import DiscoveryError, MakeContext, MayReach
from coordinator.discovery.target import host_and_port

REQUEST_SECONDS: Final = 2.0  # for one request to one host

_WATCH_ANSWER_BYTES_MAX: Final = 16 << 20
_ANOTHER_HOST_MAY_DO: Final = frozenset(
    {14, 16}
)  # gRPC's UNAVAILABLE; UNAUTHENTICATED: the token has expired
_Result = TypeVar("_Result")


class EtcdError(DiscoveryError):
    """etcd is away, or refuses."""


class _Client(AioClient):  # type: ignore[misc]  # untyped
    """etcd3-py's client of one host, without the blocking request of its constructor; it follows nobody."""

    def _retrieve_version(self) -> None:
        self.server_version_sem = sem.Version.coerce(self.server_version)
        self.cluster_version_sem = sem.Version.coerce(self.cluster_version)

    def _post(self, url: str, **options: Any) -> Any:
        return self.session.post(url, allow_redirects=False, **options)


class EtcdClient:
    """A client that uses one host at a time and goes to the next when that one fails.

    hosts: `host:port` each. may_reach: judges each address that a host leads to; None: all are trusted.
    tls: what they are spoken to with; None: plainly.
    All methods raise EtcdError, and take at most REQUEST_SECONDS per host.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        user: str = "",
        password: str = "",
        may_reach: MayReach | None = None,
        tls: MakeContext | None = None,
    ) -> None:
        self._hosts = tuple(hosts)
        self._user = user
        self._password = password
        self._may_reach = may_reach
        self._tls = tls
        self._turn = 0
        self._client: _Client | None = None
        self._connecting = asyncio.Lock()

    async def grant(self, seconds: int) -> int:
        """Return the id of a new lease that lives so long unless kept alive."""
        return int((await self._request(lambda client: client.lease_grant(TTL=seconds))).ID)

    async def keep_alive(self, lease: int) -> bool:
        """Renew a lease. False when there is no such lease any more."""
        answer = await self._request(lambda client: _keep_alive(client, lease))
        return int(answer.get("TTL", 0)) > 0

    async def revoke(self, lease: int) -> None:
        """End a lease; its keys go with it."""
        await self._request(lambda client: client.lease_revoke(lease))

    async def put(self, key: str, value: str, lease: int) -> None:
        """Write a key that lives as long as the lease."""
        await self._request(lambda client: client.put(key, value, lease=lease))

    async def get(self, key: str) -> str | None:
        """Return the value of a key, None when there is none."""
        found = (await self._request(lambda client: client.range(key))).kvs or ()
        return next((kv.value.decode(errors="replace") for kv in found), None)

    async def values(self, prefix: str) -> tuple[str, ...]:
        """Return the values of all keys that begin with the prefix, in the order of their keys."""
        found = (await self._request(lambda client: client.range(prefix, prefix=True))).kvs or ()
        return tuple(kv.value.decode(errors="replace") for kv in found)

    async def changes(self, prefix: str) -> AsyncGenerator[None, None]:
        """Yield once when the watch stands, and then whenever keys with the prefix have changed.

        Ends only by EtcdError, when the watch is over; what changed is for `values` to say.
        """
        data = {"create_request": {"key": prefix, "range_end": incr_last_byte(prefix)}}
        client = await self._connected()
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                response = await client.call_rpc("/watch", data=data, raw=True)
            try:
                async for message in _messages(response):
                    _raise_if_over(message)
                    yield
            finally:
                response.close()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            await self._drop(client)
            raise EtcdError(f"the watch of {prefix} broke: {_text(error)}") from error
        await self._drop(client)
        raise EtcdError(f"the watch of {prefix} was ended by etcd")

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._drop(self._client)

    async def _request(self, operation: Callable[[_Client], Awaitable[_Result]]) -> _Result:
        problems = []
        for _ in range(len(self._hosts) + bool(self._user)):  # one more, for a token that has expired
            client = await self._connected()
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    return await operation(client)
            except Etcd3Exception as error:
                if getattr(error, "code", None) not in _ANOTHER_HOST_MAY_DO:
                    raise EtcdError(f"etcd at {client.host}:{client.port} refuses: {_text(error)}") from error
                problem: Exception = error
            # The last three are how the library reacts to an answer that is not etcd's.
            except (aiohttp.ClientError, OSError, ValueError, TypeError, AttributeError) as error:
                problem = error
            problems.append(f"{client.host}:{client.port}: {_text(problem)}")
            await self._drop(client)
        raise EtcdError(f"etcd does not answer: {'; '.join(problems)}")

    async def _connected(self) -> _Client:
        """Return the client of the host in use, or of the next one that answers."""
        async with self._connecting:
            problems = []
            for _ in self._hosts:
                if self._client is not None:
                    return self._client
                host = self._hosts[self._turn % len(self._hosts)]
                try:
                    async with asyncio.timeout(REQUEST_SECONDS):
                        self._client = await self._connect(host)
                except (
                    Etcd3Exception,
                    aiohttp.ClientError,
                    OSError,
                    ValueError,
                    TypeError,
                    KeyError,
                ) as error:
                    problems.append(f"{host}: {_text(error)}")
                    self._turn += 1
            if self._client is not None:
                return self._client
        raise EtcdError(f"etcd does not answer: {'; '.join(problems)}")

    async def _connect(self, host: str) -> _Client:
        """Return a client of this host that is logged in."""
        context = self._tls() if self._tls is not None else None
        scheme = "http" if context is None else "https"
        session = _session(host, self._may_reach, context)
        try:
            async with session.get(f"{scheme}://{host}/version", allow_redirects=False) as response:
                version = await response.json(content_type=None)
            address, port = host_and_port(host)
            client = _Client(
                f"[{address}]" if ":" in address else address,
                port,
                scheme,
                server_version=version["etcdserver"],
                cluster_version=version["etcdcluster"],
            )
            await client.session.close()  # one of its own, that asks nobody
            client.session = session
            if self._user:
                await client.auth(self._user, self._password)
        except BaseException:
            await session.close()
            raise
        return client

    async def _drop(self, client: _Client) -> None:
        """Close a client that failed; the next request goes to the next host."""
        if self._client is client:
            self._client = None
            self._turn += 1
        await client.close()


def _session(host: str, may_reach: MayReach | None, context: ssl.SSLContext | None) -> aiohttp.ClientSession:
    address, port = host_and_port(host)

    def make_socket(found: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, place = found
        if may_reach is not None:
            may_reach(address, str(place[0]), port)
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(socket_factory=make_socket, ssl=context or True)
    return aiohttp.ClientSession(connector=connector)


async def _keep_alive(client: _Client, lease: int) -> dict[str, Any]:
    async with await client.call_rpc("/lease/keepalive", data=b'{"ID":%d}' % lease, raw=True) as response:
        async for message in _messages(response):
            if "error" in message:
                raise ValueError(str(message["error"]))
            result: dict[str, Any] = message.get("result", {})
            return result
    raise ValueError("keep-alive got no answer")


async def _messages(response: aiohttp.ClientResponse) -> AsyncGenerator[dict[str, Any], None]:
    """The JSON objects of a stream; some versions of etcd put nothing between them."""
    decoder = json.JSONDecoder()
    text = ""
    async for chunk in response.content.iter_any():
        text += chunk.decode()  # the gateway writes ASCII: keys and values are base64
        if len(text) > _WATCH_ANSWER_BYTES_MAX:
            raise ValueError("an answer without end")
        while text := text.lstrip():
            try:
                message, end = decoder.raw_decode(text)
            except ValueError:
                break  # the rest is still to come
            if not isinstance(message, dict):
                raise ValueError("an answer that is not etcd's")
            text = text[end:]
            yield message


def _raise_if_over(message: dict[str, Any]) -> None:
    result = message.get("result", {})
    if "error" in message or result.get("canceled"):
        raise ValueError(str(message.get("error") or result.get("cancel_reason") or "cancelled"))


def _text(error: Exception) -> str:
    reason = getattr(error, "error", None)  # etcd3-py's own
    return str(reason or error) or type(error).__name__
