"""PROTOCOL §11: `MicroService.Target`, the same names as in branch urls (tests/unit/calls/test_url.py)."""

from coordinator.discovery.target import Target, host_and_port, parse_target, shown


def test_the_target_that_the_coordinator_registers_under() -> None:
    assert parse_target("etcd://h1:2379,h2:2379/dtmservice") == Target(
        "etcd", ("h1:2379", "h2:2379"), "dtmservice"
    )


def test_user_and_password_are_decoded_and_not_shown() -> None:
    target = parse_target("etcd://h1:2379/dtmservice?user=root&password=p%26w")
    assert (target.user, target.password) == ("root", "p&w")
    assert shown(str(target)) == "etcd://h1:2379/dtmservice"
    assert "p&w" not in repr(target)


def test_the_text_of_a_target_reads_back() -> None:
    for text in (
        "host:1",
        "direct:///h1:1,h2:2",
        "etcd://h1:2379/a/b",
        "etcd://h1:1/k?user=u&password=%2F%26",
    ):
        assert str(parse_target(text)) == text


def test_the_brackets_of_ipv6_go_when_it_is_connected_to() -> None:
    assert host_and_port("[::1]:80") == ("::1", 80)
    assert host_and_port("host:80") == ("host", 80)
