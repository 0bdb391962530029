"""What each room is handed of the settings."""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from yarl import URL

from coordinator.backoff import Timing
from coordinator.calls.connect import Reach
from coordinator.calls.machine import names_of_this_machine
from coordinator.calls.places import Places
from coordinator.config.settings import Settings
from coordinator.discovery.names import Names
from coordinator.discovery.place_rules import parse_place_rules, rule_of
from coordinator.discovery.target import host_and_port
from coordinator.engine.admission import Admission, Bounds
from coordinator.engine.hook import WebHookAlerts
from coordinator.engine.overload import Throttle
from coordinator.engine.pressure import Pressure
from coordinator.store.open import StoreConfig
from coordinator.tls import ClientTls

_CONNECTIONS_MAX: Final = 500  # where the configuration sets no bound
_FOR_EVER: Final = math.inf  # seconds, as a connection's lifetime


def store_config(settings: Settings, tls: ClientTls | None) -> StoreConfig:
    """How the store is reached. tls: what its server is spoken to with, None: plainly."""
    store = settings.store
    return StoreConfig(
        driver=store.driver,
        path=str(store.path),
        host=store.host,
        port=store.port,
        user=store.user,
        password=store.password.get_secret_value(),
        database=store.db,
        schema=store.schema_,
        connections_max=store.max_open_conns or _CONNECTIONS_MAX,
        idle_connections_max=store.max_idle_conns,
        connection_lifetime_seconds=store.conn_max_life_time * 60 or _FOR_EVER,
        tls=tls,
    )


def bounds(settings: Settings) -> Bounds:
    """How much may be under way."""
    return Bounds(
        transactions_max=settings.concurrency_max,
        bytes_max=settings.bytes_in_flight_max,
        window_max=settings.endpoint_concurrency_max,
        deferred_seconds_max=settings.retry_interval,
    )


def pressure(
    settings: Settings,
    admission: Admission,
    commit_seconds: Callable[[], float],
    monotonic: Callable[[], float],
) -> Pressure:
    """What says whether a new transaction is taken in. Needs a running loop."""
    throttle = Throttle(asyncio.get_running_loop().call_soon, monotonic)
    return Pressure(admission, bounds(settings), commit_seconds, throttle, monotonic)


def timing(settings: Settings) -> Timing:
    """The coordinator's own figures for intervals and limits."""
    return Timing(
        request_timeout=settings.request_timeout,
        retry_interval=settings.retry_interval,
        retry_interval_max=settings.retry_interval_max,
        timeout_to_fail=settings.timeout_to_fail,
        alert_retry_limit=settings.alert_retry_limit,
        request_timeout_max=settings.request_timeout_max,
        option_seconds_max=settings.option_seconds_max,
    )


def places(settings: Settings) -> Places:
    """Where branches may live."""
    found_at = settings.micro_service.end_point
    return Places(
        parse_place_rules(settings.branches.allow),
        parse_place_rules(settings.branches.deny),
        own_places=(host_and_port(found_at),) if found_at else (),
        local_names=names_of_this_machine(),
    )


def web_hook(settings: Settings, names: Names, places: Places) -> WebHookAlerts | None:
    """Who posts alerts, if anybody is to. What the url names may be reached; what it redirects to is judged.

    Raises StartError for a url that nothing can be posted to.
    """
    if not settings.alert_web_hook:
        return None
    url = URL(settings.alert_web_hook)
    rules = (rule_of(url.raw_host or "", url.port or 0),)
    reach = Reach(names, places.allowing(rules))
    return WebHookAlerts(settings.alert_web_hook, reach, on_end=settings.alert_on_end)
