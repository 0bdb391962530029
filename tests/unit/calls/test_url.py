"""PROTOCOL §10: urls of branches, HTTP and gRPC."""

import pytest

from coordinator.calls.branch_urls import BranchUrls
from coordinator.calls.places import Places
from coordinator.calls.url import parse_grpc_url, parse_http_url
from coordinator.client.transport.checks import check_url

problem_of = BranchUrls(Places()).problem


@pytest.mark.parametrize(
    ("url", "path_and_query"),
    [
        ("http://host/path", "/path?gid=g1&trans_type=saga&branch_id=01&op=action"),
        ("http://host", "/?gid=g1&trans_type=saga&branch_id=01&op=action"),
        ("http://host/path?a=1&b=2", "/path?a=1&b=2&gid=g1&trans_type=saga&branch_id=01&op=action"),
        ("http://host/path?a=1&", "/path?a=1&gid=g1&trans_type=saga&branch_id=01&op=action"),
        ("http://host?flag", "/?flag&gid=g1&trans_type=saga&branch_id=01&op=action"),
        ("http://host/path#there", "/path?gid=g1&trans_type=saga&branch_id=01&op=action"),
    ],
)
def test_the_query_gains_the_branch_and_keeps_what_it_has(url: str, path_and_query: str) -> None:
    assert parse_http_url(url).with_branch("g1", "saga", "01", "action").raw_path_qs == path_and_query


@pytest.mark.parametrize(
    "written",
    [
        "/a%2Fb%2fc/%41?x=%2B+%20%41&y=a/b:c@d;e,f",
        "/~user/(x)/a.b/../c?ids[]=1&ids[]=2",
        "/broken%zz?q=100%",
        "//double//slash",
    ],
)
def test_what_the_client_wrote_is_not_encoded_again(written: str) -> None:
    assert parse_http_url(f"http://host{written}").url.raw_path_qs == written


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("/a b?c d", "/a%20b?c%20d"),
        ("/路?q=中", "/%E8%B7%AF?q=%E4%B8%AD"),
        ("/{id}?<x>", "/%7Bid%7D?%3Cx%3E"),
    ],
)
def test_what_no_request_line_may_carry_is_encoded(written: str, sent: str) -> None:
    assert parse_http_url(f"http://host{written}").url.raw_path_qs == sent


def test_values_of_the_branch_are_encoded() -> None:
    url = parse_http_url("http://host/path?x=1").with_branch("a&b=c d/é+%", "saga", "01", "action")
    assert url.raw_query_string == "x=1&gid=a%26b%3Dc+d/%C3%A9%2B%25&trans_type=saga&branch_id=01&op=action"
    assert url.query["gid"] == "a&b=c d/é+%"


@pytest.mark.parametrize(
    "url",
    [
        *("http://host", "http://host/", "http://host/p?", "http://host?flag", "http://host/p?a=1"),
        *(
            "http://host/p?a=1&",
            "http://host/p?a=%26&&",
            "http://host/p%3F",
            "http://host/p?a=?",
            "http://host/?&",
        ),
        *("http://host/a b?c d#e", "http://host/?%zz"),
    ],
)
@pytest.mark.parametrize(
    ("gid", "trans_type", "branch_id", "op"),
    [
        ("g1", "saga", "01", "action"),
        ("A-b_c.d~9", "xa", "", "commit"),
        ("", "", "", ""),
        ("a&b=c d/é+%#?", "saga", "01", "action"),
        ("g", "s&", "0=1", "a+b"),
        ("g\n", "saga", "01", "action"),
    ],
)
def test_what_is_sent_is_the_url_with_the_branch(
    url: str, gid: str, trans_type: str, branch_id: str, op: str
) -> None:
    parsed = parse_http_url(url)
    whole = parsed.with_branch(gid, trans_type, branch_id, op)
    target = parsed.target_with_branch(gid, trans_type, branch_id, op)
    assert target == whole.raw_path_qs
    assert " " not in target
    assert target.isascii()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://host/a", "host"),
        ("http://host:80/a", "host"),
        ("https://Host:443/a", "Host"),
        ("http://user:secret@host:443/a", "host:443"),
        ("http://[::1]/a", "[::1]"),
        ("http://[::1]:8080/a", "[::1]:8080"),
    ],
)
def test_the_host_that_a_request_names(url: str, host: str) -> None:
    assert parse_http_url(url).host == host


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://host/a", "http://host:80"),
        ("https://host/a", "https://host:443"),
        ("HTTP://Host:8080/a?b", "http://host:8080"),
        ("http://user:secret@host/a", "http://host:80"),
        ("http://[::1]:8080/a", "http://[::1]:8080"),
        ("http://例子.example/a", "http://xn--fsqu00a.example:80"),
    ],
)
def test_calls_to_one_server_share_an_endpoint(url: str, endpoint: str) -> None:
    assert parse_http_url(url).endpoint == endpoint


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://", "has no host"),
        ("http:///path", "has no host"),
        ("http://:8080/path", "has no host"),
        ("http://?a=1", "has no host"),
        ("host:8080/path", "does not begin with http:// or https://"),
        ("/path", "does not begin with http:// or https://"),
        ("ftp://host/path", "does not begin with http:// or https://"),
        ("http://host:99999/", "is not a url: Port out of range 0-65535"),
        ("http://host:x/", "is not a url: Port could not be cast to integer value as 'x'"),
        ("http://host:0/", "has 0 for a port"),
        ("http://a b/", "has 'a b' for a host"),
        ("http://[::1/", "is not a url: Invalid IPv6 URL"),
        ("http://host/\r\nX: y", "has a control character"),
        ("http://a..b/", "has 'a..b' for a host, which no name server knows"),
        (f"http://{'x' * 64}/", f"has {'x' * 64!r} for a host, which no name server knows"),
        ("http://127.1/", "has '127.1' for a host, which is no whole IP address"),
        ("http://2130706433/", "has '2130706433' for a host, which is no whole IP address"),
    ],
)
@pytest.mark.parametrize("protocol", ["http", "json-rpc"])
def test_http_urls_that_can_never_be_called(url: str, problem: str, protocol: str) -> None:
    assert problem_of(url, protocol) == problem


@pytest.mark.parametrize("protocol", ["http", "grpc", "json-rpc"])
def test_an_empty_url_is_fine(protocol: str) -> None:
    """PROTOCOL §6: an empty url is success."""
    assert problem_of("", protocol) == ""


def test_a_grpc_transaction_may_mix_in_http_branches() -> None:
    """PROTOCOL §10."""
    assert problem_of("http://host/path", "grpc") == ""
    assert problem_of("https://host/path", "grpc") == ""
    assert problem_of("http:///path", "grpc") == "has no host"


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("localhost:8080", "localhost:8080"),
        ("[::1]:8080", "[::1]:8080"),
        ("etcd://h1:2379,h2:2379/user.rpc", "etcd://h1:2379,h2:2379/user.rpc"),
        ("etcd://h1/user.rpc", "etcd://h1:2379/user.rpc"),
        ("etcd://[::1]:2379,h2/user.rpc", "etcd://[::1]:2379,h2:2379/user.rpc"),
        ("discov://h1:2379/user.rpc", "etcd://h1:2379/user.rpc"),
        ("etcd://h1:2379/prod/user.rpc", "etcd://h1:2379/prod/user.rpc"),
        ("etcd:///h1:2379?key=user.rpc", "etcd://h1:2379/user.rpc"),
        ("etcd:///h1:2379,h2:2379?key=user.rpc", "etcd://h1:2379,h2:2379/user.rpc"),
        ("etcd://h1:2379?key=prod/user.rpc", "etcd://h1:2379/prod/user.rpc"),
        ("etcd://h1:2379/user.rpc?user=u&password=p%2F", "etcd://h1:2379/user.rpc?user=u&password=p%2F"),
        ("direct:///h1:8080,h2:8080", "direct:///h1:8080,h2:8080"),
        ("direct://h1:8080,h2:8080", "direct:///h1:8080,h2:8080"),
        ("direct:///h1:8080", "h1:8080"),
        ("direct:///[::1]:8080,h2:1", "direct:///[::1]:8080,h2:1"),
        ("dns:///host:8080", "dns:///host:8080"),
        ("dns://1.1.1.1/host:8080", "dns:///host:8080"),
        ("passthrough:///host:8080", "host:8080"),
        ("grpcs://host:443", "host:443"),
        ("GRPCS://h1:443,h2:443", "direct:///h1:443,h2:443"),
        ("grpcs+etcd://h1:2379/user.rpc", "etcd://h1:2379/user.rpc"),
        ("grpcs+etcd:///h1:2379?key=user.rpc", "etcd://h1:2379/user.rpc"),
        ("grpcs+discov://h1:2379/user.rpc", "etcd://h1:2379/user.rpc"),
        ("grpcs+dns:///host:443", "dns:///host:443"),
        ("grpcs+direct:///h1:443,h2:443", "direct:///h1:443,h2:443"),
    ],
)
def test_grpc_urls(url: str, target: str) -> None:
    parsed = parse_grpc_url(f"{url}/user.User/saveUser")
    assert (parsed.target, parsed.path) == (target, "/user.User/saveUser")
    assert problem_of(f"{url}/user.User/saveUser", "grpc") == ""
    assert parsed.is_encrypted is url.lower().startswith("grpcs")
    assert parsed.certificate_of == ("user.rpc" if "grpcs+" in url and "user.rpc" in url else "")
    check_url("action", f"{url}/user.User/saveUser", "grpc")  # our own client lets it through


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("host:8080", "has no /package.Service/Method after the host"),
        ("host:8080/", "has no /package.Service/Method after the host"),
        ("host/user.User/saveUser", "has no port"),
        (":8080/user.User/saveUser", "has no host"),
        ("/user.User/saveUser", "has no host"),
        ("host:http/user.User/saveUser", "has 'http' for a port"),
        ("host:0/user.User/saveUser", "has '0' for a port"),
        ("::1:8080/user.User/saveUser", "has '::1' for a host"),
        ("etcd://h1:2379/user.User/saveUser", "has no service name after the etcd hosts"),
        ("etcd:///user.rpc/user.User/saveUser", "has no host"),
        ("etcd://user.User/saveUser", "has no /package.Service/Method after the service"),
        ("direct:///user.User/saveUser", "has no host"),
        ("direct:///h1:8080,h2/user.User/saveUser", "has no port"),
        (
            "consul://h1:8500/user.rpc/user.User/saveUser",
            "has the scheme consul, which is not supported; etcd, discov, direct and dns are",
        ),
        ("host:8080/user.User/save\nUser", "has a control character"),
        ("host:8080/user.User/Ü", "has a character that is not ASCII, which gRPC cannot send"),
        ("a..b:8080/user.User/saveUser", "has 'a..b' for a host, which no name server knows"),
        (
            "grpcs+etcd://h1:2379/prod/user.rpc/a.B/C",
            "has 'prod/user.rpc' for a service, of which there can be no certificate",
        ),
        (
            "grpcs+consul://h1:8500/user.rpc/a.B/C",
            "has the scheme consul, which is not supported; etcd, discov, direct and dns are",
        ),
        ("dns:///127.1:8080/a.B/C", "has '127.1' for a host, which is no whole IP address"),
    ],
)
def test_grpc_urls_that_can_never_be_called(url: str, problem: str) -> None:
    assert problem_of(url, "grpc") == problem
