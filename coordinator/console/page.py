"""What a page is: where it is, what it needs, and what it answers to a visit."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from coordinator.access.audit import Actor
from coordinator.access.permissions import Needs, Permission, Principal
from coordinator.console.words import Words


@dataclass(frozen=True, slots=True)
class Visit:
    """One request for a page.

    base: before each of our paths, such as `/dtm`; mostly empty. path: as it is registered, without base.
    values: what stands in its variable parts. query, form: by name; of a name given twice the first counts.
    came_by: path and query as they came, without base. cookies: by name. address: whence it was asked.
    host: by which name it was asked. is_encrypted: whether by TLS.
    """

    who: Principal
    words: Words
    base: str
    path: str
    values: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]
    came_by: str
    cookies: Mapping[str, str]
    address: str
    host: str
    is_encrypted: bool

    @property
    def actor(self) -> Actor:
        """Who acts, for the record of who did what."""
        return Actor(self.who.name, self.who.method, self.address)

    def may(self, permission: Permission) -> bool:
        """Whether who asks has this permission."""
        return permission in self.who.permissions


@dataclass(frozen=True, slots=True)
class Shown:
    """A page. template: its file. values: what stands in it. cookies: lines of Set-Cookie. headers: more."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    cookies: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SeeOther:
    """Go there, by GET. path: one of ours, without base, or whole where it is somebody else's."""

    path: str
    cookies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """What is no page. kind: its Content-Type. headers: further ones."""

    body: bytes
    kind: str
    headers: Mapping[str, str] = field(default_factory=dict)


Content = Shown | SeeOther | File
Answering = Callable[[Visit], Awaitable[Content]]


@dataclass(frozen=True, slots=True)
class Page:
    """One page, or what one of its forms asks for.

    path: without base, with `{name}` for a variable segment. place: its number in the head's line of pages, 0
    where it does not stand there; its word is then `nav.NAME` with the first segment of its path, or inbox.
    """

    method: str
    path: str
    needs: Needs
    answer: Answering
    place: int = 0

    @property
    def name(self) -> str:
        """The first segment of its path."""
        return self.path.split("/")[1] or "inbox"


def path_to(*segments: str, **query: str) -> str:
    """A path of ours, encoded: path_to("transactions", gid, after="x"); an empty value is left out."""
    path = "/" + "/".join(quote(segment, safe="", errors="replace") for segment in segments)
    given = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(given, errors='replace')}" if given else path
