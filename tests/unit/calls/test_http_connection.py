import pytest

from coordinator.calls.http_connection import status_in


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"HTTP/1.1 409 Conflict\r\n", 409),
        (b"HTTP/1.1 409\r\n", 409),
        (b"HTTP/1.0 409 \r\nX: y", 409),
        (b"HTTP/1.1 200 OK\n", 200),
        (b"HTTP/1.1 409 Konflikt \xff\r\n", 409),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 409 Conflict\r\n", 409),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 425 Too Early\r\nX", 425),
        (b"HTTP/1.1 103 Early Hints\r\nX: HTTP/1.1 409 Conflict\r\n", None),
        (b"HTTP/1.1 100 Continue\r\n\r\n", None),
        (b"HTTP/1.1 409 Conflict", None),  # may have been cut
        (b"HTTP/1.1 409", None),
        (b"HTTP/1.1 4", None),
        (b"HTTP/1.1 4090\r\n", None),
        (b"HTTP/1.1 099 x\r\n", None),
        (b"SSH-2.0-OpenSSH\r\n", None),
        (b"", None),
    ],
)
def test_a_status_line_counts_once_it_is_whole(head: bytes, status: int | None) -> None:
    assert status_in(head) == status
    assert status_in(bytearray(head)) == status
