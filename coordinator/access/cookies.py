"""The cookies of the console: their names, what stands in them, when the browser keeps them. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from coordinator.discovery.target import is_loopback

LOGIN_SECONDS: Final = 600  # that a log-in at an issuer may take
_PREFIX: Final = "__Host-"  # of those that a browser takes from nobody but this host, over https


@dataclass(frozen=True, slots=True)
class Cookies:
    """is_plain: the browser speaks plain HTTP with this machine itself, and would keep no Secure cookie.

    Another place is reached over https, here or at a proxy in front: there cookies are Secure, whatever this
    coordinator sees.
    """

    is_plain: bool

    @classmethod
    def of(cls, host: str, *, is_encrypted: bool) -> "Cookies":
        """Those of a request. host: its header `Host`."""
        name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
        return cls(not is_encrypted and is_loopback(name))

    @property
    def session(self) -> str:
        """The name of the one that holds a session."""
        return "dtm" if self.is_plain else f"{_PREFIX}dtm"

    @property
    def login(self) -> str:
        """The name of the one that a log-in at an issuer is bound to."""
        return f"{self.session}-login"

    def set(self, name: str, value: str, *, seconds: int | None = None) -> str:
        """The header `Set-Cookie`. seconds: that it is kept; None: until the browser is closed."""
        kept = "" if seconds is None else f"; Max-Age={seconds}"
        return f"{name}={value}; Path=/; HttpOnly; SameSite=Lax{'' if self.is_plain else '; Secure'}{kept}"

    def drop(self, name: str) -> str:
        """The header `Set-Cookie` that ends it."""
        return self.set(name, "", seconds=0)


def cookies_in(header: str) -> Mapping[str, str]:
    """What the header `Cookie` has, by name; of a name that stands there more than once nothing."""
    pairs = [part.strip().partition("=") for part in header.split(";")]
    counts = Counter(name for name, _, _ in pairs)
    return {name: value for name, sign, value in pairs if sign and counts[name] == 1}
