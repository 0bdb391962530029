"""What settings must keep to so that a coordinator can start with them (PROTOCOL §13)."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from yarl import URL

from coordinator.config.disk import problem_of_database, problem_of_file
from coordinator.config.oidc import CALLBACK, Oidc
from coordinator.config.settings import ROTATION_KEYS, Settings, Telemetry
from coordinator.config.store import RETENTION_LEAST, Store, age_of
from coordinator.config.values import FieldPath, key_of
from coordinator.discovery.logins import shown_url
from coordinator.discovery.target import endpoint, parse_target
from coordinator.errors import StartError
from coordinator.telemetry.span_target import SpanTarget, kind_of
from coordinator.tls import TlsFiles, client_context

RETRY_INTERVAL_LEAST: Final = 10  # seconds

_END_POINT: Final = ("micro_service", "end_point")
_TARGET: Final = ("micro_service", "target")
_NEVER_IN_HOST: Final = re.compile(r"[\s/@?#\[\],]")


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that the settings break. near: the field whose value makes the rule apply."""

    path: FieldPath
    problem: str
    hint: str = ""
    near: FieldPath = ()


def broken_rules(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """What PROTOCOL §13 forbids, and what cannot work. Looks at the files that are named, changes nothing."""
    yield from _store_rules(settings.store)
    retry, timeout = settings.retry_interval, settings.timeout_to_fail
    if retry < RETRY_INTERVAL_LEAST:
        yield Finding(("retry_interval",), f"is {retry}, but must be at least {RETRY_INTERVAL_LEAST}")
    if timeout < retry:
        problem = f"is {timeout}, but must not be less than RetryInterval, which is {retry}"
        yield Finding(("timeout_to_fail",), problem, near=("retry_interval",))
    yield from _port_rules(settings)
    yield from _workers_rules(settings)
    if settings.micro_service.driver == "dtm-driver-gozero" and settings.micro_service.target:
        yield from _registration_rules(settings)
    yield from _hook_rules(settings.alert_web_hook)
    yield from _tls_rules(settings)
    yield from _oidc_rules(settings.oidc)
    yield from _log_rules(settings)
    yield from _telemetry_rules(settings.telemetry, environment)


def _workers_rules(settings: Settings) -> Iterator[Finding]:
    if settings.workers == 1:
        return
    if settings.store.driver == "sqlite":
        problem = f"is {settings.workers}, but one process alone may write a SQLite file"
        yield Finding(("workers",), problem, "Leave it at 1, or use mysql or postgres.")
    for path, port in ((("http_port",), settings.http_port), (("grpc_port",), settings.grpc_port)):
        if not port:
            yield Finding(
                path, "is 0, any free port, which several processes cannot share", near=("workers",)
            )


def doubts(settings: Settings) -> Iterator[Finding]:
    """What can stand but will hardly do what was meant."""
    if settings.micro_service.target and settings.micro_service.driver == "default":
        hint = "Set MicroService.Driver to dtm-driver-gozero to register there."
        yield Finding(_TARGET, "has no effect with the driver default", hint)
    if settings.http_micro_service.driver not in {"", "default"}:
        problem = "no registry for HTTP is built yet; this section has no effect"
        yield Finding(("http_micro_service", "driver"), problem)
    if settings.access.certificates and settings.access.mode == "off":
        hint = "Set Access.Mode to operators or all; off asks nobody who they are."
        yield Finding(("access", "certificates"), "has no effect with Access.Mode off", hint)
    if settings.oidc.issuer and settings.access.mode == "off":
        hint = "Set Access.Mode to operators or all; off asks nobody who they are."
        yield Finding(("oidc", "issuer"), "has no effect with Access.Mode off", hint)


def _port_rules(settings: Settings) -> Iterator[Finding]:
    operators = settings.operators
    named: dict[int, FieldPath] = {}
    for path, port in (
        (("http_port",), settings.http_port),
        (("grpc_port",), settings.grpc_port),
        (("operators", "port"), operators.port),
        (("operators", "grpc_port"), operators.grpc_port),
    ):
        if port and port in named:
            problem = f"is {port}, as {key_of(named[port])} is"
            yield Finding(path, problem, "Each needs a port of its own.", near=named[port])
        named.setdefault(port, path)
    if operators.grpc_port and not operators.port:
        yield Finding(("operators", "grpc_port"), "needs Operators.Port beside it")


def _registration_rules(settings: Settings) -> Iterator[Finding]:
    service = settings.micro_service
    hint = "Write it as etcd://host:2379/dtmservice."
    shown = shown_url(service.target)[:80]
    if not service.target.startswith(("etcd://", "discov://")):
        yield Finding(_TARGET, f"{shown!r} is no address of etcd", hint)
    else:
        try:
            parse_target(service.target)
        except ValueError as error:
            yield Finding(_TARGET, f"{shown!r} {error}", hint)
    hint = "Write the host:port by which others reach GrpcPort."
    if not service.end_point:
        yield Finding(_END_POINT, "is missing", hint, near=_TARGET)
        return
    try:
        endpoint(service.end_point)
    except ValueError as error:
        yield Finding(_END_POINT, f"{shown_url(service.end_point)[:80]!r} {error}", hint)


def _store_rules(store: Store) -> Iterator[Finding]:
    driver = ("store", "driver")
    if store.retention and timedelta(0) < age_of(store.retention) < RETENTION_LEAST:
        hint = "A gid that is forgotten can be submitted anew; write 0 to keep everything."
        yield Finding(("store", "retention"), f"is {store.retention}, but must be at least 1h", hint)
    if store.archive_path and (problem := problem_of_file(Path(store.archive_path))):
        hint = "Name a file that this user may write, such as /var/lib/dtm/ended.jsonl."
        yield Finding(("store", "archive_path"), f"{store.archive_path!r} {problem}", hint)
    if store.driver == "sqlite":
        if problem := problem_of_database(store.path):
            hint = "Name a file in a folder that exists and that this user may write to."
            yield Finding(("store", "path"), f"{str(store.path)!r} {problem}", hint, near=driver)
        return
    if not store.host:
        hint = "Write the host name or address of the server."
        yield Finding(("store", "host"), f"is missing, and {store.driver} needs it", hint, near=driver)
    elif not _is_host(store):
        yield _bad_host(store.host)
    if not store.port:
        hint = "MySQL's and MariaDB's own is 3306."
        yield Finding(("store", "port"), "is missing, and mysql needs it", hint, near=driver)
    if not store.user:
        hint = "Write the name of a database user."
        yield Finding(("store", "user"), f"is missing, and {store.driver} needs it", hint, near=driver)
    if not store.db:
        hint = "Write the name of the coordinator's database, usually dtm."
        yield Finding(("store", "db"), f"is empty, and {store.driver} needs it", hint, near=driver)
    if store.driver == "postgres" and not store.schema_:
        hint = "Write the schema of the coordinator's tables, usually public."
        yield Finding(("store", "schema_"), "is empty, and postgres needs it", hint, near=driver)


def _is_host(store: Store) -> bool:
    if store.driver == "postgres" and store.host.startswith("/"):
        return True  # the folder of a Unix socket
    if ":" in store.host:
        try:
            ipaddress.IPv6Address(store.host)
        except ValueError:
            return False
    return not _NEVER_IN_HOST.search(store.host)


def _bad_host(host: str) -> Finding:
    name, colon, port = host.rpartition(":")
    hint = "Write the host name or address alone."
    if colon and port.isdecimal() and ":" not in name and "/" not in name:
        hint = f"Write {name} alone, and {port} for Store.Port."
    return Finding(("store", "host"), f"{shown_url(host)[:80]!r} is no host name or address", hint)


def _hook_rules(hook: str) -> Iterator[Finding]:
    if not hook:
        return
    try:
        url = URL(hook)
        fine = url.scheme in {"http", "https"} and bool(url.host) and url.port != 0
    except ValueError:
        fine = False
    if not fine:
        hint = "Write the whole URL, such as https://host/path."
        yield Finding(("alert_web_hook",), "is no URL that begins with http:// or https:// and a host", hint)


def _tls_rules(settings: Settings) -> Iterator[Finding]:
    branches = settings.branches
    yield from _certificate_rules(
        "branches", TlsFiles(branches.ca_file, branches.cert_file, branches.key_file)
    )
    for section in ("store", "micro_service"):
        given = getattr(settings, section)
        yield from _certificate_rules(section, TlsFiles(given.ca_file, given.cert_file, given.key_file))
    for section in ("tls", "operators"):
        served = getattr(settings, section)
        path = (section, "client_ca_file")
        if served.client_ca_file and not served.cert_file:
            hint = "Name the certificate that is listened with."
            yield Finding(path, f"needs {key_of((section, 'cert_file'))} beside it", hint)
        yield from _certificate_rules(
            section, TlsFiles(served.client_ca_file, served.cert_file, served.key_file)
        )
    if settings.access.certificates and not (
        settings.tls.client_ca_file or settings.operators.client_ca_file
    ):
        hint = "Name who signs the certificates of clients; otherwise they are asked for none."
        yield Finding(("access", "certificates"), "needs Tls.ClientCaFile beside it", hint)


def _oidc_rules(oidc: Oidc) -> Iterator[Finding]:
    if not oidc.issuer:
        return
    near = ("oidc", "issuer")
    for name, hint in (
        ("client_id", "Write what the issuer calls this coordinator."),
        ("redirect_url", f"Write where browsers see this coordinator, and {CALLBACK} behind it."),
        ("roles", "Write which groups may log in: `dtm-admins=admin, dtm-ops=operator`."),
    ):
        if not getattr(oidc, name):
            yield Finding(("oidc", name), "is missing, and Oidc.Issuer needs it", hint, near=near)
    if oidc.redirect_url and not oidc.redirect_url.endswith(CALLBACK):
        yield Finding(("oidc", "redirect_url"), f"does not end with {CALLBACK}", "The console answers there.")
    yield from _certificate_rules("oidc", TlsFiles(oidc.ca_file))


def _certificate_rules(section: str, files: TlsFiles) -> Iterator[Finding]:
    if files.key and not files.cert:
        yield Finding((section, "key_file"), "needs the certificate whose key it is, CertFile, beside it")
    elif files.names:
        try:
            client_context(files)
        except StartError as error:
            near = "cert_file" if files.cert else "ca_file"
            yield Finding((section, near), error.message, f"{error.hint.capitalize()}.")


def _log_rules(settings: Settings) -> Iterator[Finding]:
    path = ("log", "outputs")
    for name in settings.log.destinations:
        if name in {"stderr", "stdout"}:
            continue
        if problem := problem_of_file(Path(name), folders_are_made=True):
            yield Finding(path, f"{name!r} {problem}", "Name a file that this user may write, or stderr.")
    rotation = settings.log.rotation or {}
    for key in ROTATION_KEYS:
        value = rotation.get(key) or 0
        if type(value) is not int or value < 0:
            problem = f"{key} must be a whole number, not {value!r}"
            yield Finding(("log", "rotation_config_json"), problem)


def _telemetry_rules(telemetry: Telemetry, environment: Mapping[str, str]) -> Iterator[Finding]:
    target = SpanTarget(telemetry.name, telemetry.endpoint, telemetry.sampler, telemetry.batcher)
    path = ("telemetry", "endpoint")
    try:
        kind = kind_of(target, environment)
    except StartError as error:
        yield Finding(("telemetry", "batcher"), error.message, f"{error.hint.capitalize()}.")
        return
    if kind == "file" and (problem := problem_of_file(Path(telemetry.endpoint))):
        yield Finding(path, f"{telemetry.endpoint!r} {problem}", "Name a file that this user may write.")
    if kind == "jaeger" and not _names_a_host(telemetry.endpoint):
        yield Finding(path, "names no host", "Write it as http://host:14268/api/traces.")


def _names_a_host(text: str) -> bool:
    try:
        return bool(URL(text if "://" in text else f"//{text}").host)
    except ValueError:
        return False
