"""Sessions: what a browser that is logged in holds, how it is stored, how long it stands. Pure."""

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Final, NamedTuple

from coordinator.access.tokens import hash_of

IDLE: Final = timedelta(minutes=30)  # without a request, after which it ends
LIFE: Final = timedelta(hours=12)  # after which it ends, whatever is asked
SESSIONS_MAX: Final = 20  # of one person; of more, those that were begun first end
BY_PASSWORD: Final = "session"  # how somebody is known who logged in by one
BY_ISSUER: Final = "oidc"

_SECRET_BYTES: Final = 32
_TEXT_CHARACTERS: Final = 43


class NewSession(NamedTuple):
    """text: for the browser alone. hash: what is stored."""

    text: str
    hash: str


def new_session(random_bytes: Callable[[int], bytes]) -> NewSession:
    """Make one of 256 bits. random_bytes: so many, that nobody can guess."""
    text = base64.urlsafe_b64encode(random_bytes(_SECRET_BYTES)).decode().rstrip("=")
    return NewSession(text, hash_of(text))


def has_shape(text: str) -> bool:
    """Whether it may be one: anything else is not looked for."""
    return (
        len(text) == _TEXT_CHARACTERS and text.isascii() and text.replace("-", "").replace("_", "").isalnum()
    )
