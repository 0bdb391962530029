"""What is written to an HTTP branch, byte by byte (PROTOCOL §10)."""

import pytest
from multidict import CIMultiDict

from coordinator.calls.http_request import HeaderLines, encoded

HEADERS = {"Content-Type": "application/json", "User-Agent": "dtm"}


def sent(headers: dict[str, str], method: str = "POST", body: bytes | None = b"{}") -> bytes:
    return encoded(method, "/a?b=c", "shop:8080", HeaderLines(CIMultiDict(headers)), body)


@pytest.mark.parametrize(
    ("method", "body", "end"),
    [
        ("POST", b"{}", b"Content-Length: 2\r\n\r\n{}"),
        ("POST", None, b"Content-Length: 0\r\n\r\n"),
        ("GET", None, b"\r\n"),
    ],
)
def test_a_request(method: str, body: bytes | None, end: bytes) -> None:
    assert sent(HEADERS, method, body) == (
        f"{method} /a?b=c HTTP/1.1\r\nHost: shop:8080\r\nContent-Type: application/json\r\n"
        "User-Agent: dtm\r\nAccept: */*\r\n"
    ).encode() + (end)


def test_accept_may_be_another() -> None:
    assert (
        sent({"accept": "text/plain", "X": "ü"})
        == (
            "POST /a?b=c HTTP/1.1\r\nHost: shop:8080\r\naccept: text/plain\r\nX: ü\r\n"
            "Content-Length: 2\r\n\r\n{}"
        ).encode()
    )


@pytest.mark.parametrize("name", ["X Bad", "", "X:", "X\r\nY", "Ü", "X\0"])
def test_a_name_that_cannot_be_sent_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="is no header name"):
        sent({name: "a"})


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nb", "a\rb", "a\0", "\x7f", "\x01"])
def test_the_header_of_a_value_that_cannot_be_sent_is_named(value: str) -> None:
    with pytest.raises(ValueError, match="the header X-Bad has a control character"):
        sent({"X-Bad": value})
