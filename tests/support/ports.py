"""Free TCP ports that stay free: not the ones the system hands out to outgoing connections."""

import fcntl
import random
import socket
import ssl
import tempfile
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import IO

HOST = "127.0.0.1"
# Below every common range of ephemeral ports (Linux: from 32768), so that no outgoing connection takes a port
# while the server that owns it is down for a moment.
FIRST_PORT = 10000
LAST_PORT = 32000
BLOCK = 100  # ports that one process has to itself

_LOCKS = Path(tempfile.gettempdir()) / "dtm-test-ports"
_held: list[IO[bytes]] = []  # locked for as long as this process lives
_left: list[int] = []
_random = random.SystemRandom()


def free_port() -> int:
    """Return a local TCP port that nobody listens on.

    No test process is given it, this one included, for as long as this one lives: a server that is killed
    finds its port free when it starts again.
    """
    while True:
        while _left:
            port = _left.pop()
            if _can_bind(port):
                return port
        _left.extend(_take_block())


def _take_block() -> list[int]:
    _LOCKS.mkdir(mode=0o777, exist_ok=True)
    blocks = list(range(FIRST_PORT, LAST_PORT, BLOCK))
    _random.shuffle(blocks)
    for first in blocks:
        file = (_LOCKS / str(first)).open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        _held.append(file)
        return list(range(first, first + BLOCK))
    raise RuntimeError(f"no free port between {FIRST_PORT} and {LAST_PORT}")


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def is_listening(port: int, host: str = HOST) -> bool:
    """Return whether somebody accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def speaks_tls(port: int) -> bool:
    """Return whether TLS is spoken at that port of HOST, whoever may enter."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((HOST, port), timeout=1) as plain,
            context.wrap_socket(plain),
        ):
            return True
    except OSError:  # ssl.SSLError is one
        return False


def answers(url: str) -> bool:
    """Return whether a GET of `url` is answered with 200 within a second."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == HTTPStatus.OK)
    except (OSError, urllib.error.URLError):
        return False
