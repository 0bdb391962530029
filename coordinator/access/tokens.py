"""Tokens: `dtm_<id>_<secret>_<checksum>`. How they are made, and known by what is stored of them. Pure."""

import hashlib
import re
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

PREFIX: Final = "dtm_"
DAYS: Final = 90  # that a token stands unless said otherwise
DAYS_MAX: Final = 3650
NAME_MAX: Final = 100  # characters

_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_SHAPE: Final = re.compile(r"(dtm_[0-9a-f]{12}_[0-9a-f]{64})_([0-9a-f]{8})", flags=re.ASCII)


class NewToken(NamedTuple):
    """text: for its owner, told once. id: by which it is named. hash: what is stored."""

    text: str
    id: str
    hash: str


def new_token(random_bytes: Callable[[int], bytes]) -> NewToken:
    """Make one. random_bytes: so many, that nobody can guess."""
    identifier = random_bytes(_ID_BYTES).hex()
    body = f"{PREFIX}{identifier}_{random_bytes(_SECRET_BYTES).hex()}"
    text = f"{body}_{_checksum(body)}"
    return NewToken(text, identifier, hash_of(text))


def hash_of(token: str) -> str:
    """SHA-256 of its text, in hexadecimal digits."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def is_whole(token: str) -> bool:
    """Whether it has a token's shape and checksum: else it was cut or mistyped, and is nobody's."""
    found = _SHAPE.fullmatch(token)
    return found is not None and _checksum(found[1]) == found[2]


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
