"""PROTOCOL §10: what travels beside the payload of a gRPC branch."""

import pytest
from hpack import Decoder

from coordinator.calls.grpc_headers import grpc_headers
from coordinator.model import Branch, Options, Status, Transaction


def _headers(branch_headers: dict[str, str], gid: str = "g1", timeout: float = 3) -> dict[bytes, bytes]:
    transaction = Transaction(
        gid, "saga", Status.SUBMITTED, "grpc", options=Options(branch_headers=branch_headers)
    )
    branch = Branch(gid, "01", "action", "ignored")
    encoded = grpc_headers("h:1", "/s/m", transaction, branch, timeout)
    return dict(Decoder().decode(encoded, raw=True))


def test_the_branch_and_the_clients_headers_in_lower_case() -> None:
    headers = _headers({"X-Token": "T t", "Empty": ""})
    assert {name: value for name, value in headers.items() if name.startswith((b"dtm", b"x-", b"empty"))} == {
        b"dtm-gid": b"g1",
        b"dtm-trans_type": b"saga",
        b"dtm-branch_id": b"01",
        b"dtm-op": b"action",
        b"x-token": b"T t",
    }
    assert (headers[b":authority"], headers[b":path"]) == (b"h:1", b"/s/m")
    assert headers[b"content-type"] == b"application/grpc"


def test_the_scheme_says_whether_the_connection_is_encrypted() -> None:
    transaction, branch = Transaction("g", "saga", Status.SUBMITTED, "grpc"), Branch("g", "01", "action", "x")
    for https, scheme in ((False, b"http"), (True, b"https")):
        encoded = grpc_headers("h:1", "/s/m", transaction, branch, 3, https=https)
        assert dict(Decoder().decode(encoded, raw=True))[b":scheme"] == scheme


def test_names_that_are_grpcs_own_are_dropped() -> None:
    headers = _headers(
        {"Content-Type": "x", "TE": "x", "User-Agent": "x", "grpc-timeout": "1n", "Grpc-X": "x"}
    )
    assert headers == _headers({})


def test_names_that_belong_to_http_1_are_dropped() -> None:
    """A server would break off the call for them, or the connection; an HTTP branch may want them."""
    names = ("Host", "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade")
    assert _headers(dict.fromkeys((*names, "Content-Length", "Expect"), "x")) == _headers({})


def test_binary_values_are_encoded() -> None:
    assert _headers({"trace-bin": "ab"})[b"trace-bin"] == b"YWI"


@pytest.mark.parametrize(
    ("timeout", "written"),
    [
        (3, b"3000m"),
        (0.5, b"500m"),
        (0, b"1m"),
        (86_400, b"86400000m"),
        (2**31, b"99999999S"),
        (1e5, b"100000S"),
    ],
)
def test_the_server_is_told_the_deadline(timeout: float, written: bytes) -> None:
    assert _headers({}, timeout=timeout)[b"grpc-timeout"] == written


@pytest.mark.parametrize("headers", [{"x y": "a"}, {"x#": "a"}, {"x": "a\nb"}, {"x": "ü"}])
def test_what_no_header_can_carry_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"metadata|printable"):
        _headers(headers)


def test_a_gid_that_no_header_can_carry_is_refused() -> None:
    with pytest.raises(ValueError, match="the gid 'ü' is not printable ASCII"):
        _headers({}, gid="ü")
