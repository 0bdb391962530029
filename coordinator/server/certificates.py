"""The certificates of this coordinator: read from the settings, looked at again and again, told of."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from coordinator.clock import Clock
from coordinator.config.network import Operators, Tls
from coordinator.config.settings import MicroService, Settings
from coordinator.config.store import Store
from coordinator.discovery.etcd import EtcdTls
from coordinator.discovery.target import parse_target
from coordinator.server.tasks import Tasks
from coordinator.telemetry.metrics import Metrics
from coordinator.tls import ClientTls, ServerTls, TlsFiles
from coordinator.watching.readiness import Readiness

LOOK_SECONDS: Final = 5.0  # between two looks at the files
_SOON: Final = timedelta(days=14)


class Certificates:
    """branches: what they are called with. of_port: what each port listens with.

    store, etcd: what these servers are spoken to with, None: plainly. etcd_tls: the same, whoever names etcd.

    Raises StartError for files that cannot be used.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._clock = clock
        branches, served = settings.branches, settings.tls
        self.branches = ClientTls(
            TlsFiles(branches.ca_file, branches.cert_file, branches.key_file), "Branches.CertFile"
        )
        self.store = tls_of(settings.store, "Store.CertFile")
        self.etcd = tls_of(settings.micro_service, "MicroService.CertFile")
        self.etcd_tls = _etcd_tls(settings.micro_service.target, self.etcd)
        self._known: dict[str, ClientTls | ServerTls] = {"Branches.CertFile": self.branches}
        if self.store is not None:
            self._known["Store.CertFile"] = self.store
        if self.etcd is not None:
            self._known["MicroService.CertFile"] = self.etcd
        self._ports: dict[str, ServerTls] = {}
        self._listen_with(served, "Tls", {"HttpPort": "http/1.1", "GrpcPort": "h2"})
        if settings.operators.port:
            theirs = {"Operators.Port": "http/1.1", "Operators.GrpcPort": "h2"}
            own = settings.operators.cert_file
            self._listen_with(settings.operators if own else served, "Operators" if own else "Tls", theirs)

    def _listen_with(self, served: Tls | Operators, section: str, ports: Mapping[str, str]) -> None:
        if not served.cert_file:
            return
        files = TlsFiles(served.client_ca_file, served.cert_file, served.key_file)
        needs_one = served.clients == "required"
        for port, alpn in ports.items():
            key = f"{section}.CertFile"
            self._ports[port] = ServerTls(files, key, alpn=(alpn,), clients_need_one=needs_one)
            self._known[f"{key} of {port}" if key in self._known else key] = self._ports[port]

    def of_port(self, port: str) -> ServerTls | None:
        """What the port of that key (`HttpPort`) listens with; None: plainly."""
        return self._ports.get(port)

    def watch(self, readiness: Readiness, tasks: Tasks, metrics: Metrics) -> None:
        """Begin to look at the files again and again; show until when each certificate holds."""
        tasks.repeat(self.beat, "certificates", seconds=LOOK_SECONDS)
        readiness.note("certificates", self.remark)
        metrics.gauge(
            "dtm_certificate_expires_timestamp_seconds",
            "When the certificate that this key names expires, in seconds since 1970.",
            self.expiries,
            label="key",
        )

    async def beat(self) -> None:
        """Look whether a file has changed; new connections use what it holds then."""
        for tls in self._known.values():
            await asyncio.to_thread(tls.renew)  # a mount may hang

    def expiries(self) -> Mapping[str, float]:
        """When each certificate that is shown expires, in seconds since 1970, by its key."""
        return {key: it.timestamp() for key, it in self._expiries().items()}

    def remark(self) -> str:
        """What people should do about them; empty when nothing."""
        now = self._clock.now()
        said = [tls.problem for tls in self._known.values() if tls.problem]
        said += [_ending(key, at, now) for key, at in self._expiries().items() if at - now < _SOON]
        return "; ".join(dict.fromkeys(said))

    def _expiries(self) -> Mapping[str, datetime]:
        files = ((key, tls) for key, tls in self._known.items() if " " not in key)  # each file once
        return {key: tls.expires_at for key, tls in files if tls.expires_at is not None}


def tls_of(section: Store | MicroService, key: str) -> ClientTls | None:
    """What this server is spoken to with; None: plainly. key: what is said of it. Raises StartError."""
    files = TlsFiles(section.ca_file, section.cert_file, section.key_file)
    return ClientTls(files, key) if section.tls or files.names else None


def _etcd_tls(target: str, tls: ClientTls | None) -> EtcdTls | None:
    if tls is None or not target:
        return None
    return EtcdTls(frozenset(parse_target(target).hosts), tls.context)


def _ending(key: str, at: datetime, now: datetime) -> str:
    when = at.strftime("%Y-%m-%d %H:%M UTC")
    if at <= now:
        return f"the certificate of {key} has expired ({when}): put a new one in its file"
    return f"the certificate of {key} expires on {when}: put a new one in its file before"
