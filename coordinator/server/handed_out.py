"""What each room is handed of the settings."""

import math
from typing import Final

from coordinator.backoff import Timing
from coordinator.config.settings import Settings
from coordinator.engine.admission import Bounds
from coordinator.store.open import StoreConfig

_CONNECTIONS_MAX: Final = 500  # where the configuration sets no bound
_FOR_EVER: Final = math.inf  # seconds, as a connection's lifetime


def store_config(settings: Settings) -> StoreConfig:
    """How the store is reached."""
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
    )


def bounds(settings: Settings) -> Bounds:
    """How much may be under way."""
    return Bounds(
        transactions_max=settings.concurrency_max,
        bytes_max=settings.bytes_in_flight_max,
        window_max=settings.endpoint_concurrency_max,
        deferred_seconds_max=settings.retry_interval,
    )


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
