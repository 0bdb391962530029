"""Coordinators that are found through etcd, or named together: `etcd://…`, `direct://…` (PROTOCOL §11)."""

from collections.abc import Sequence
from ssl import SSLContext

from coordinator.client.errors import InvalidUse
from coordinator.client.extras import brought_by
from coordinator.client.transport.base import ConnectionProblem, without_secrets
from coordinator.client.transport.over_grpc import GrpcTransport
from coordinator.client.transport.several import SeveralTransports
from coordinator.discovery.base import DiscoveryError
from coordinator.discovery.open import open_resolver
from coordinator.discovery.target import SCHEME_ETCD, host_and_port, parse_target
from coordinator.model import PROTOCOL_GRPC


def discovered_transport(target: str, token: str = "", tls: SSLContext | None = None) -> SeveralTransports:
    """Return gRPC to the coordinators that a target names or is registered for."""
    resolver = open_resolver()

    async def find() -> Sequence[str]:
        try:
            return await resolver.endpoints(target)
        except DiscoveryError as error:
            raise ConnectionProblem(str(error), sent=False) from error

    return SeveralTransports(
        find,
        lambda endpoint: GrpcTransport(*host_and_port(endpoint), token, tls),
        protocol=PROTOCOL_GRPC,
        address=without_secrets(target),
        closed=resolver.close,
    )


def checked_target(url: str) -> str:
    """Return the target in the resolver's form; raises InvalidUse with the sentence of what is wrong.

    Raises MissingExtra for etcd where its client is not installed.
    """
    try:
        target = parse_target(url)
    except ValueError as error:
        raise InvalidUse(f"coordinator url {without_secrets(url)!r} {error}") from error
    if target.scheme == SCHEME_ETCD:
        with brought_by("etcd", "etcd3"):
            pass
    return str(target)
