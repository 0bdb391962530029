"""`dtm check --connect`: whether what a coordinator needs can be reached from here. Changes nothing."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from yarl import URL

from coordinator.clock import SystemClock
from coordinator.config.settings import Settings
from coordinator.config.store import Store
from coordinator.discovery.base import DiscoveryError
from coordinator.discovery.etcd_client import EtcdClient
from coordinator.discovery.logins import shown_origin
from coordinator.discovery.target import parse_target, shown
from coordinator.errors import StartError
from coordinator.server.certificates import Certificates, tls_of

CONNECT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Tried:
    """One part: what was tried and what came of it. hint: what to do next; empty where all is well."""

    part: str  # store, etcd, hook, certificates
    said: str
    hint: str = ""
    is_reached: bool = True


async def try_to_connect(settings: Settings) -> AsyncIterator[Tried]:
    """Try each part in turn, each in bounded time."""
    yield await _try_store(settings.store)
    yield await _try_etcd(settings)
    yield await _try_hook(settings.alert_web_hook)
    certificates = await asyncio.to_thread(_look_at_certificates, settings)
    if certificates is not None:
        yield certificates


async def _try_store(store: Store) -> Tried:
    if store.driver == "sqlite":
        return await asyncio.to_thread(_try_sqlite, store)
    from coordinator.store.probe import probe

    try:
        said = await probe(
            store.driver,
            host=store.host,
            port=store.port,
            user=store.user,
            password=store.password.get_secret_value(),
            database=store.db,
            tls=tls_of(store, "Store.CertFile"),
        )
    except StartError as error:
        return Tried("store", error.message, error.hint, is_reached=False)
    return Tried("store", f"{store.address} {said}")


def _try_sqlite(store: Store) -> Tried:
    if not store.path.exists():
        return Tried("store", f"{store.address} is not there yet; the start makes it")
    # Read-only: a coordinator may be running on it.
    connection = sqlite3.connect(
        f"{store.path.resolve().as_uri()}?mode=ro", uri=True, timeout=CONNECT_SECONDS
    )
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        hint = "name another file with Store.Path, or put this one back from a copy"
        return Tried("store", f"{store.address} cannot be read: {error}", hint, is_reached=False)
    finally:
        connection.close()
    return Tried("store", f"{store.address} can be read")


async def _try_etcd(settings: Settings) -> Tried:
    service = settings.micro_service
    if service.driver == "default" or not service.target:
        return Tried("etcd", "not configured: nothing to register in")
    target = parse_target(service.target)
    tls = tls_of(service, "MicroService.CertFile")
    client = EtcdClient(
        target.hosts, user=target.user, password=target.password, tls=tls.context if tls else None
    )
    try:
        found = await client.values(f"{target.key}/")
    except DiscoveryError as error:
        hint = (
            "start etcd, or correct hosts, user and password in MicroService.Target; a coordinator starts all"
            " the same, and registers once etcd is there"
        )
        return Tried("etcd", f"{shown(service.target)}: {error.message}", hint, is_reached=False)
    finally:
        await client.close()
    return Tried("etcd", f"{shown(service.target)} answers; registered there now: {len(found)}")


def _look_at_certificates(settings: Settings) -> Tried | None:
    """Until when those that are shown hold; None where none are."""
    certificates = Certificates(settings, SystemClock())
    if not (expiries := certificates.expiries()):
        return None
    if remark := certificates.remark():
        return Tried("certificates", remark, "a running coordinator takes it from the file", is_reached=False)
    shown = (f"{key} until {datetime.fromtimestamp(at, UTC):%Y-%m-%d}" for key, at in expiries.items())
    return Tried("certificates", ", ".join(shown))


async def _try_hook(hook: str) -> Tried:
    if not hook:
        return Tried("hook", "not configured: alerts go to the log alone")
    url, where = URL(hook), shown_origin(hook)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(url.host, url.port, ssl=url.scheme == "https")
    except (OSError, ValueError) as error:  # a time-out is an OSError
        reason = str(error) or "no answer in time"
        hint = "correct AlertWebHook, or let this machine out to that host"
        return Tried("hook", f"{where} cannot be reached: {reason}", hint, is_reached=False)
    writer.close()
    return Tried("hook", f"{where} takes connections; nothing was posted")
