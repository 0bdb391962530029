"""PROTOCOL §11, §13: what `MicroService: {Driver, Target, EndPoint}` makes."""

import pytest

from coordinator.discovery.default import NoRegistration
from coordinator.discovery.etcd import EtcdRegistration
from coordinator.discovery.open import open_registration, open_resolver
from coordinator.errors import StartError

GO_ZERO = "dtm-driver-gozero"


@pytest.mark.parametrize(
    ("driver", "target"),
    [
        ("default", ""),
        ("", ""),
        ("default", "etcd://h:2379/dtmservice"),
        (GO_ZERO, ""),
        (GO_ZERO, "direct:///h:1"),
    ],
)
async def test_nothing_is_registered(driver: str, target: str) -> None:
    registration = open_registration(driver, target, "localhost:36790")
    assert isinstance(registration, NoRegistration)
    await registration.start()
    assert not registration.is_registered
    await registration.stop()


def test_go_zero_registers_in_etcd() -> None:
    registration = open_registration(GO_ZERO, "etcd://h1:2379,h2:2379/dtmservice", "localhost:36790")
    assert isinstance(registration, EtcdRegistration)


@pytest.mark.parametrize(
    ("driver", "target", "end_point", "message"),
    [
        (
            GO_ZERO,
            "etcd://h1:2379",
            "localhost:36790",
            "MicroService.Target has no service name after the etcd hosts",
        ),
        (GO_ZERO, "etcd:///dtmservice", "localhost:36790", "MicroService.Target has no host"),
        (GO_ZERO, "etcd://h1:2379/dtmservice", "", "MicroService.EndPoint '' has no host"),
        (GO_ZERO, "etcd://h1:2379/dtmservice", "localhost", "MicroService.EndPoint 'localhost' has no port"),
        (
            "dtm-driver-ego",
            "etcd://h1:2379/x",
            "h:1",
            "MicroService.Driver 'dtm-driver-ego' is not supported",
        ),
    ],
)
def test_a_bad_configuration_names_its_key(driver: str, target: str, end_point: str, message: str) -> None:
    with pytest.raises(StartError) as caught:
        open_registration(driver, target, end_point)
    assert caught.value.message == message
    assert caught.value.hint


async def test_targets_that_need_no_registry() -> None:
    resolver = open_resolver()
    assert list(await resolver.endpoints("host:8080")) == ["host:8080"]
    assert list(await resolver.endpoints("direct:///h1:1,h2:2")) == ["h1:1", "h2:2"]
    await resolver.close()


async def test_a_registration_that_was_never_started_stops() -> None:
    await open_registration(GO_ZERO, "etcd://h1:2379/dtmservice", "localhost:36790").stop()
