"""What the configuration keeps secret is in no log line."""

import pytest
from pydantic import SecretStr

from coordinator.config.settings import MicroService, Settings
from coordinator.config.store import Store
from coordinator.server.observing import secrets_of
from coordinator.telemetry.secrets import Secrets

SETTINGS = Settings(
    store=Store(password=SecretStr("store-s3cret")),
    alert_web_hook="https://ann:hook%2Ds3cret@hooks.example/services/T0/B0/token-s3cret?key=query-s3cret",
    micro_service=MicroService(
        driver="dtm-driver-gozero", target="etcd://h/n?user=u&password=etcd%2Ds3cret", end_point="h:1"
    ),
)


@pytest.mark.parametrize(
    "line",
    [
        "Access denied, store-s3cret is wrong",
        "cannot post to /services/T0/B0/token-s3cret",
        "token-s3cret is not known",
        "hook%2Ds3cret or hook-s3cret",
        "etcd refuses etcd-s3cret",
        "?key=query-s3cret",
    ],
)
def test_no_secret_of_the_configuration_is_logged(line: str) -> None:
    assert "s3cret" not in Secrets(secrets_of(SETTINGS)).hidden(line)
