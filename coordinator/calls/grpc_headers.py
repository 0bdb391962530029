"""What a gRPC branch call carries beside its payload (PROTOCOL §10). Pure."""

import re
from base64 import b64encode
from functools import lru_cache
from typing import Final

from coordinator.http2.literals import literal
from coordinator.model import Branch, Transaction

_RESERVED: Final = frozenset(
    {"te", "content-type", "user-agent"}  # gRPC's own; Go clients drop them silently too
    | {"host", "content-length", "expect"}  # of HTTP/1; a server would break off the call, or the connection
    | {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
)
METADATA_NAME: Final = re.compile(r"[0-9a-z_.-]+")
_VALUE: Final = re.compile(r"[ -~]*")
_TIMEOUT_MAX: Final = 99_999_999  # gRPC allows eight digits and a unit
_USER_AGENT: Final = b"dtm-coordinator"
_SETS_REMEMBERED_MAX: Final = 4096


def grpc_headers(
    authority: str,
    path: str,
    transaction: Transaction,
    branch: Branch,
    timeout: float,
    *,
    https: bool = False,
) -> bytes:
    """Return the header block of a call.

    authority: `host:port`. timeout: seconds; both are told to the server. https: whether the connection is
    encrypted.
    Empty values are left out, some servers refuse them. Raises ValueError for what no header can carry.
    """
    encoded = (
        _repeated(authority, path, transaction.trans_type, branch.branch_id, branch.op, https)
        + literal(b"grpc-timeout", _timeout(timeout))
        + literal(b"dtm-gid", _value("the gid", branch.gid))
    )
    for name, value in transaction.options.headers_for(branch.branch_id).items():
        key = name.lower()
        if not value or key in _RESERVED or key.startswith("grpc-"):
            continue
        if not METADATA_NAME.fullmatch(key):
            raise ValueError(f"{name!r} is no name of gRPC metadata")
        binary = key.endswith("-bin")
        content = b64encode(value.encode()).rstrip(b"=") if binary else _secret_value(name, value)
        encoded += literal(key.encode(), content)
    return encoded


@lru_cache(_SETS_REMEMBERED_MAX)
def _repeated(authority: str, path: str, trans_type: str, branch_id: str, op: str, https: bool) -> bytes:
    """What most calls to one branch have in common."""
    named = ((b"dtm-trans_type", trans_type), (b"dtm-branch_id", branch_id), (b"dtm-op", op))
    headers = (
        (b":method", b"POST"),
        (b":scheme", b"https" if https else b"http"),
        (b":path", _value("the path", path)),
        (b":authority", _value("the host", authority)),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", _USER_AGENT),
        *((name, _value(name.decode(), value)) for name, value in named if value),
    )
    return b"".join(literal(name, value) for name, value in headers)


def _timeout(seconds: float) -> bytes:
    milliseconds = max(1, int(seconds * 1000))
    if milliseconds <= _TIMEOUT_MAX:
        return b"%dm" % milliseconds
    return b"%dS" % min(int(seconds), _TIMEOUT_MAX)


def _secret_value(name: str, value: str) -> bytes:
    if not _VALUE.fullmatch(value):  # not shown: it may be a password, and the text goes into the log
        raise ValueError(f"the header {name} is not printable ASCII")
    return value.encode()


def _value(what: str, value: str) -> bytes:
    if not _VALUE.fullmatch(value):
        raise ValueError(f"{what} {value!r} is not printable ASCII")
    return value.encode()
