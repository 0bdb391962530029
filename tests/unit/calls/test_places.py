"""Where branches may live: what is refused by itself, what operators list, and every way around it."""

import pytest

from coordinator.calls.branch_urls import BranchUrls
from coordinator.calls.machine import is_of_this_machine, names_of_this_machine
from coordinator.calls.places import Places, Refused
from coordinator.discovery.place_rules import parse_place_rules

HTTP_PORT, GRPC_PORT = 36789, 36790


def places(allow: str = "", deny: str = "", **options: object) -> Places:
    """Those of a coordinator on the machine `here`, whose address is 10.0.0.7."""
    made = Places(
        parse_place_rules(allow),
        parse_place_rules(deny),
        own_places=[("dtm.shop.svc", GRPC_PORT)],
        is_local=lambda address: address in {"127.0.0.1", "127.0.0.9", "::1", "10.0.0.7", "0.0.0.0", "::"},
        local_names=["localhost", "here"],
    )
    made.listens_on(HTTP_PORT)
    made.listens_on(GRPC_PORT)
    return made


# ---- at connect: the address itself -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3",
        "127.0.0.1",
        "::1",
        "192.168.1.1",
        "93.184.215.14",
        "2606:2800::1",
        "fd00::1",
        "fd00:ec3::254",  # beside AWS's
        "100.100.100.201",
        "64:ff9b::a01:203",
    ],
)
def test_branches_live_anywhere_else(address: str) -> None:
    assert places().problem("shop.example", address, 80) == ""


GUARDED = [
    "169.254.169.254",
    "169.254.170.2",  # credentials of AWS's containers
    "169.254.0.1",
    "fe80::1",
    "fe80::a9fe:a9fe%1",
    "febf::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:5601:5601",  # Teredo of 169.254.169.254
    "::ffff:100.100.100.200",
]


@pytest.mark.parametrize("address", GUARDED)
@pytest.mark.parametrize(
    "allow", ["", "*", "*, 0.0.0.0/0, ::/0", "innocent.example", "168.0.0.0/5, fc00::/6"]
)
def test_addresses_that_give_a_machines_secrets_are_guarded(address: str, allow: str) -> None:
    with pytest.raises(Refused, match=r"credentials: Branches\.Allow would have to name"):
        places(allow).require("innocent.example", address, 80)


@pytest.mark.parametrize(
    ("allow", "address"),
    [
        ("169.254.169.254", "169.254.169.254"),
        ("169.254.10.0/24", "169.254.10.9"),
        ("169.254.0.0/16", "169.254.169.254"),
        ("169.254.10.9:8080", "169.254.10.9"),
        ("169.254.10.9", "::ffff:169.254.10.9"),
        ("fe80::/10", "fe80::1"),
        ("100.100.100.200", "100.100.100.200"),
    ],
)
def test_who_names_them_may_have_them(allow: str, address: str) -> None:
    assert places(allow).problem("mesh", address, 8080) == ""


def test_who_names_one_of_them_has_no_other() -> None:
    assert "169.254.169.254" in places("169.254.10.9").problem("x", "169.254.169.254", 80)
    assert "link-local" in places("169.254.10.9:8080").problem("x", "169.254.10.9", 80)


@pytest.mark.parametrize("port", [HTTP_PORT, GRPC_PORT])
@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.0.0.9", "::1", "10.0.0.7", "0.0.0.0", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.7"],
)
@pytest.mark.parametrize("allow", ["", "*", "innocent.example, 0.0.0.0/0, ::/0", "innocent.example:36789"])
def test_the_coordinator_does_not_call_itself(address: str, port: int, allow: str) -> None:
    problem = places(allow).problem("innocent.example", address, port)
    assert f"at {port} is this coordinator itself: Branches.Allow would have to name" in problem


def test_other_ports_of_the_machine_and_that_port_of_others_are_fine() -> None:
    assert places().problem("localhost", "127.0.0.1", 8080) == ""
    assert places().problem("other", "10.0.0.8", HTTP_PORT) == ""


def test_who_names_its_address_and_port_may_call_it() -> None:
    assert places("127.0.0.1:36789").problem("localhost", "127.0.0.1", HTTP_PORT) == ""
    assert places("127.0.0.0/8:36789").problem("localhost", "127.0.0.1", HTTP_PORT) == ""
    assert places("127.0.0.1").problem("localhost", "127.0.0.1", HTTP_PORT)
    assert places("127.0.0.1:36789").problem("localhost", "127.0.0.1", GRPC_PORT)


def test_where_others_find_the_coordinator_is_itself_too() -> None:
    """A service's address is no address of the machine."""
    assert "this coordinator itself" in places().problem("dtm.shop.svc", "10.96.0.9", GRPC_PORT)
    assert places("10.96.0.9:36790").problem("DTM.shop.svc.", "10.96.0.9", GRPC_PORT) == ""
    numbered = Places(own_places=[("10.96.0.9", GRPC_PORT)])
    assert "this coordinator itself" in numbered.problem("any.example", "10.96.0.9", GRPC_PORT)


@pytest.mark.parametrize(
    ("deny", "host", "address", "is_denied"),
    [
        ("127.0.0.0/8", "shop", "127.0.0.1", True),
        ("127.0.0.0/8", "shop", "::ffff:127.0.0.1", True),
        ("127.0.0.0/8", "shop", "64:ff9b::7f00:1", True),
        ("127.0.0.0/8", "shop", "10.1.2.3", False),
        ("*.evil.example", "a.EVIL.example.", "10.1.2.3", True),
        ("10.0.0.0/8:6379", "shop", "10.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", "10.1.2.3", True),
    ],
)
@pytest.mark.parametrize("allow", ["", "*", "10.1.2.3, 127.0.0.1, shop"])
def test_what_is_denied_is_denied_whatever_is_allowed(
    deny: str, host: str, address: str, is_denied: bool, allow: str
) -> None:
    problem = places(allow, deny).problem(host, address, 80)
    assert (f"is denied by Branches.Deny: {deny}" in problem) is is_denied


@pytest.mark.parametrize(
    ("allow", "host", "address", "is_allowed"),
    [
        ("*.svc", "shop.svc", "10.1.2.3", True),
        ("*.svc", "SHOP.SVC.", "10.1.2.3", True),
        ("*.svc", "shop.svc.evil", "10.1.2.3", False),
        ("*.svc", "10.1.2.3", "10.1.2.3", False),
        ("10.0.0.0/8", "shop.svc", "10.1.2.3", True),
        ("10.0.0.0/8", "shop.svc", "11.1.2.3", False),
        ("10.0.0.0/8", "shop.svc", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "shop.svc", "64:ff9b::a01:203", True),
        ("10.0.0.0/8", "shop.svc", "2002:a01:203::1", False),  # goes to whoever has that prefix
        ("*", "10.1.2.3", "10.1.2.3", True),
    ],
)
def test_where_something_is_allowed_nothing_else_is(
    allow: str, host: str, address: str, is_allowed: bool
) -> None:
    problem = places(allow).problem(host, address, 80)
    assert problem == "" if is_allowed else problem.endswith("is not in Branches.Allow")


def test_the_operators_own_urls_are_reached_and_what_they_lead_to_is_judged() -> None:
    hooked = places("*.svc", "10.9.0.0/16").allowing(parse_place_rules("hooks.example:443"))
    assert hooked.problem("hooks.example", "93.184.215.14", 443) == ""
    assert hooked.problem("shop.svc", "10.1.2.3", 80) == ""
    assert "not in Branches.Allow" in hooked.problem("elsewhere.example", "93.184.215.15", 443)
    assert "credentials" in hooked.problem("hooks.example", "169.254.169.254", 443)
    assert "itself" in hooked.problem("hooks.example", "127.0.0.1", HTTP_PORT)
    assert "Deny" in hooked.problem("hooks.example", "10.9.1.1", 443)
    assert places().allowing(parse_place_rules("a:1")).problem("b", "10.1.2.3", 80) == ""


# ---- at submit: what the url says --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/iam",
        "http://user:password@169.254.169.254/",
        "http://shop.example@169.254.169.254/",
        "http://0xa9fea9fe/",
        "http://0xa9.0xfe.0xa9.0xfe/",
        "http://0xa9.0376.169.254/",
        "http://0xa9.254.43518/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:a9fe:a9fe]:80/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[fe80::1%25eth0]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/latest/meta-data/",
        "http://169.254.169.254\u3002/",
        "http://169\u3002254\u3002169\u3002254/",
        "http://１６９.254.169.254/",
        "http://①⑥⑨.254.169.254/",
        "http://localhost:36789/api/dtmsvr/submit",
        "http://LOCALHOST.:36789/",
        "http://here:36790/",
        "http://127.0.0.1:36789/api/dtmsvr/forceStop",
        "http://127.0.0.9:36789/",
        "http://0x7f.1:36789/",
        "http://0x7f000001:36789/",
        "http://0.0.0.0:36789/",
        "http://[::]:36789/",
        "http://[::1]:36789/",
        "http://[::ffff:127.0.0.1]:36789/",
        "http://10.0.0.7:36789/",
        "http://dtm.shop.svc:36790/",
    ],
)
def test_http_urls_that_are_refused_at_submit(url: str) -> None:
    for protocol in ("http", "json-rpc", "grpc"):
        problem = BranchUrls(places()).problem(url, protocol)
        assert problem.startswith(("may not be called: ", "has "))
        assert problem.startswith("has ") or "credentials" in problem or "itself" in problem


@pytest.mark.parametrize(
    "target",
    [
        "169.254.169.254:80",
        "[fe80::1]:80",
        "localhost:36790",
        "127.0.0.1:36790",
        "direct:///shop:8080,169.254.169.254:80",
        "passthrough:///169.254.169.254:80",
        "dns:///localhost:36790",
        "dns:///shop:8080,0x7f.1:36790",
        "etcd://169.254.169.254:80/user.rpc",
        "discov://etcd:2379,[fd00:ec2::254]:80/user.rpc",
        "etcd:///169.254.169.254:80?key=user.rpc",
        "etcd://dtm.shop.svc:36790/user.rpc",
    ],
)
def test_grpc_urls_that_are_refused_at_submit(target: str) -> None:
    assert "may not be called: " in BranchUrls(places()).problem(f"{target}/user.User/save", "grpc")


@pytest.mark.parametrize(
    ("url", "protocol"),
    [
        ("http://localhost:8080/do", "http"),
        ("http://127.0.0.1/do", "http"),
        ("https://shop.example/do", "http"),
        ("http://169.254.169.254.nip.example/", "http"),  # a name; what it leads to is judged at connect
        ("localhost:8080/user.User/save", "grpc"),
        ("etcd://localhost:2379/user.rpc/user.User/save", "grpc"),
        ("", "http"),
    ],
)
def test_urls_that_are_taken(url: str, protocol: str) -> None:
    assert BranchUrls(places()).problem(url, protocol) == ""


@pytest.mark.parametrize(
    ("allow", "url", "problem"),
    [
        ("*.svc", "http://shop.svc/", ""),
        ("*.svc", "http://shop.example/", "shop.example is not in Branches.Allow"),
        ("*.svc, 10.0.0.0/8", "http://shop.example/", ""),  # where it leads to is known only later
        ("*.svc, 10.0.0.0/8:8080", "http://shop.example/", "shop.example is not in Branches.Allow"),
        ("10.0.0.0/8", "http://10.1.2.3/", ""),
        ("10.0.0.0/8", "http://11.1.2.3/", "11.1.2.3 is not in Branches.Allow"),
        ("10.0.0.7:36789", "http://here:36789/", ""),
    ],
)
def test_what_is_not_allowed_is_refused_at_submit_where_that_is_certain(
    allow: str, url: str, problem: str
) -> None:
    assert BranchUrls(places(allow)).problem(url, "http") == (problem and f"may not be called: {problem}")


def test_a_denied_name_is_refused_at_submit() -> None:
    urls = BranchUrls(places(deny="*.evil.example"))
    assert urls.problem("http://a.evil.example/", "http") == (
        "may not be called: a.evil.example is denied by Branches.Deny: *.evil.example"
    )


def test_a_port_is_its_own_from_the_moment_it_listens() -> None:
    late = Places(local_names=["localhost"])
    urls = BranchUrls(late)
    assert urls.problem("http://localhost:8080/", "http") == ""
    late.listens_on(8080)
    assert "itself" in urls.problem("http://localhost:8080/", "http")


# ---- this machine ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "is_ours"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", True),
        ("::", True),
        ("192.0.2.7", False),
        ("2001:db8::7", False),
    ],
)
def test_this_machines_addresses(address: str, is_ours: bool) -> None:
    assert is_of_this_machine(address) is is_ours


def test_the_machine_knows_its_names() -> None:
    assert "localhost" in names_of_this_machine()
