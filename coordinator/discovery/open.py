"""Makes the registration and the resolver that the configuration asks for (PROTOCOL §11, §13)."""

from collections.abc import Sequence
from typing import Final

from coordinator.discovery.base import MakeContext, MayReach, Registration, Resolver
from coordinator.discovery.default import NoRegistration, PlainResolver
from coordinator.discovery.direct import DirectResolver
from coordinator.discovery.dns import DnsResolver
from coordinator.discovery.etcd import EtcdRegistration, EtcdTls
from coordinator.discovery.etcd_resolver import EtcdResolver
from coordinator.discovery.names import Names
from coordinator.discovery.target import SCHEME_DIRECT, SCHEME_DNS, SCHEME_ETCD, endpoint, parse_target
from coordinator.errors import StartError

DRIVER_DEFAULT: Final = "default"
DRIVER_GO_ZERO: Final = "dtm-driver-gozero"
ROUND_ROBIN: Final = "round_robin"  # of GrpcBalancer, as gRPC names it


def open_registration(
    driver: str, target: str, end_point: str, tls: MakeContext | None = None
) -> Registration:
    """Return the registration of `MicroService: {Driver, Target, EndPoint}`; not started.

    driver: `default` or `dtm-driver-gozero`. target: `etcd://h1:2379,h2:2379/name`; empty registers nothing.
    tls: what etcd is spoken to with; None: plainly. Raises StartError naming the key that is wrong.
    """
    if driver in {"", DRIVER_DEFAULT} or not target:
        return NoRegistration()
    if driver != DRIVER_GO_ZERO:
        raise StartError(
            f"MicroService.Driver '{driver}' is not supported", f"use {DRIVER_DEFAULT} or {DRIVER_GO_ZERO}"
        )
    try:
        parsed = parse_target(target)
    except ValueError as error:
        raise StartError(
            f"MicroService.Target {error}", "write it as etcd://host:2379,host:2379/dtmservice"
        ) from error
    if parsed.scheme != SCHEME_ETCD:
        return NoRegistration()  # as in go-zero: who is named directly needs no registry
    try:
        endpoint(end_point)
    except ValueError as error:
        raise StartError(
            f"MicroService.EndPoint '{end_point}' {error}",
            "write the host:port that others reach GrpcPort by",
        ) from error
    return EtcdRegistration(
        parsed.hosts, parsed.key, end_point, user=parsed.user, password=parsed.password, tls=tls
    )


def open_resolver(
    names: Names | None = None,
    *,
    balancer: str = "",
    may_reach: MayReach | None = None,
    tls: EtcdTls | None = None,
) -> Resolver:
    """Return a resolver of every kind of target, whatever the configured driver is.

    names: looks hosts up; its owner closes it. None: one of its own. balancer: `GrpcBalancer`; with
    `round_robin` a plain `host:port` is every address behind the name too, as `dns:///host:port` always is.
    may_reach: judges the etcd servers that targets name; None: all are trusted.
    tls: those of them that are spoken to with TLS; None: none.
    """
    dns = DnsResolver(names)
    plain = dns if balancer == ROUND_ROBIN else PlainResolver()
    resolvers: dict[str, Resolver] = {"": plain, SCHEME_DIRECT: DirectResolver(), SCHEME_DNS: dns}
    return SchemeResolver({**resolvers, SCHEME_ETCD: EtcdResolver(may_reach, tls)})


class SchemeResolver:
    """Leaves a target to the resolver of its scheme; the one of `host:port` is the empty string."""

    def __init__(self, resolvers: dict[str, Resolver]) -> None:
        self._resolvers = resolvers

    async def endpoints(self, target: str) -> Sequence[str]:
        """Return the endpoints of the target, by its scheme."""
        scheme = target.partition("://")[0] if "://" in target else ""
        return await self._resolvers[scheme].endpoints(target)

    async def close(self) -> None:
        """Close all of them."""
        for resolver in self._resolvers.values():
            await resolver.close()
