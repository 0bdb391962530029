"""A page in a browser is no client: what gives it away, and by which names loopback is asked."""

import pytest

from coordinator.access.browser import OurHosts, normal_origin, why_cross_site

HOST = "dtm.example:36789"
OURS = {normal_origin(origin) for origin in ("https://console.example", "http://127.0.0.1:8080")}

CLIENTS = [
    {},  # every client of the protocol
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://dtm.example:36789"},
    {"Sec-Fetch-Site": "none"},  # typed into the address bar
    {"Origin": "http://dtm.example:36789"},  # a browser that sends no Sec-Fetch-Site over plain HTTP
    {"Origin": "HTTP://DTM.example:36789"},
    {"Origin": "https://dtm.example:36789"},  # behind a proxy that speaks TLS
    {"Origin": "https://console.example", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "https://console.example:443"},
    {"Origin": "http://127.0.0.1:8080"},
]
PAGES = [
    {"Sec-Fetch-Site": "cross-site"},  # an image, whose GET brings no Origin
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "nonsense"},
    {"Sec-Fetch-Site": ""},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},  # a sandbox, or a file
    {"Origin": ""},
    {"Origin": "http://dtm.example"},  # another port is another origin
    {"Origin": "http://dtm.example:36789.evil.example"},
    {"Origin": "http://evil.example/dtm.example:36789"},
    {"Origin": "http://dtm.example:36789@evil.example"},
    {"Origin": "http://evil.example#dtm.example:36789"},
    {"Origin": "ftp://dtm.example:36789"},
    {"Origin": "http://console.example"},  # not by that scheme
    {"Origin": "https://console.example.evil.example"},
    {"Origin": "http://[::1"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
]


@pytest.mark.parametrize("headers", CLIENTS, ids=str)
def test_clients_and_our_own_pages_pass(headers: dict[str, str]):
    assert why_cross_site({"Host": HOST, **headers}, OURS) == ""


@pytest.mark.parametrize("headers", PAGES, ids=str)
def test_pages_of_others_do_not(headers: dict[str, str]):
    assert "asked for it" in why_cross_site({"Host": HOST, **headers}, OURS)


def test_the_own_port_of_a_scheme_may_be_left_out():
    for host, origin in (("a", "http://a:80"), ("a:443", "https://a"), ("[::1]:80", "http://[::1]")):
        assert why_cross_site({"Host": host, "Origin": origin}, ()) == ""


@pytest.mark.parametrize("headers", [{"Origin": "http://"}, {"Origin": "null"}, {"Origin": ""}], ids=str)
def test_no_host_is_nobodys_origin(headers: dict[str, str]):
    assert why_cross_site(headers, ()) != ""


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:36789", "127.0.0.1", "127.9.9.9:1", "localhost:36789", "LocalHost", "localhost."),
        *("[::1]:36789", "[::1]", "a.localhost:1", "console.example", "CONSOLE.example:443", None),
    ],
)
def test_loopback_is_asked_by_its_own_names(host: str | None):
    ours = OurHosts(["console.example"])
    assert ours.has(host)
    assert ours.has(host)  # remembered


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:36789", "localhost.evil.example", "127.0.0.1.evil.example", ""),
        *("10.0.0.1", "0.0.0.0:36789", "[::]:1", "127.0.0.1@evil.example", "evil.example#localhost", "[::1"),
        *("localhost:x", "2130706433.evil.example", "console.example.evil.example"),
    ],
)
def test_and_by_no_other(host: str):
    assert not OurHosts(["console.example"]).has(host)


def test_what_is_remembered_is_bounded():
    ours = OurHosts()
    assert all(ours.has(f"127.0.0.1:{port}") for port in range(1, 1000))
    assert len(ours._fine) <= OurHosts._REMEMBERED_MAX
