"""The gate: what a call needs is decided where it is registered, who asks is found out when it comes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final, Protocol

from coordinator.access.browser import OurHosts, why_cross_site
from coordinator.access.certificates import NOTHING, KnownCertificates
from coordinator.access.permissions import ANYBODY, Mode, Needs, Principal, anonymous, may
from coordinator.access.tokens import PREFIX
from coordinator.errors import Forbidden, Unauthenticated

CREDENTIAL: Final = "Authorization"
_BEARER: Final = "bearer "


class Tokens(Protocol):
    """Where tokens are known."""

    async def owner_of(self, token: str) -> Principal:
        """Who has this token. Raises Unauthenticated; StoreUnavailable while it cannot be looked up."""
        ...


class Sessions(Protocol):
    """Where browsers that are logged in are known."""

    async def owner_of(self, session: str) -> Principal:
        """Who is logged in. Raises Unauthenticated; StoreUnavailable while it cannot be looked up."""
        ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that was not let in. call: its path or method, as it is registered."""

    who: Principal
    address: str
    call: str
    needs: Needs
    why: str


Told = Callable[[Refusal], None]


class Door:
    """One call's: lets in who may make it.

    stranger: who asks without a credential. is_watched: False where nobody's credential is looked at, so that
    the call is `stranger`'s, whoever makes it, and `enter` need not be asked. reads_sessions: whether a
    session is a credential here, as it is for pages.
    """

    def __init__(
        self,
        call: str,
        needs: Needs,
        stranger: Principal,
        tokens: Tokens | None,
        told: Told,
        certificates: KnownCertificates | None,
        sessions: Sessions | None = None,
    ) -> None:
        """tokens, certificates, sessions: None where none is known."""
        self._call = call
        self._needs = needs
        self._tokens = tokens
        self._told = told
        self._certificates = certificates
        self._sessions = sessions
        self.stranger = stranger
        self._is_strangers = may(stranger, needs)
        self.is_watched = not (needs.is_open or stranger is ANYBODY)
        self.reads_certificates = self.is_watched and certificates is not None
        self.reads_sessions = self.is_watched and sessions is not None

    async def enter(
        self,
        credentials: Sequence[str],
        address: str,
        certificate: Mapping[str, Any] | None = None,
        session: str = "",
    ) -> Principal:
        """Who asks, with these values of the header or metadata `Authorization`.

        certificate: that was shown, as `getpeercert` says it; needed where reads_certificates. Who sends a
        token is whose that is, whatever certificate is shown, or nobody. session: what the browser holds,
        where reads_sessions; one that has ended is as good as none.

        Raises Unauthenticated for no or a bad credential, Forbidden for who may not, StoreUnavailable.
        """
        shown = NOTHING if self._certificates is None else self._certificates.look(certificate)
        who = shown.owner or self.stranger
        is_let_in = self._is_strangers or may(who, self._needs) or bool(session)
        if credentials and (_is_ours(credentials) or not is_let_in):
            try:
                who = await self._owner(credentials)
            except Unauthenticated as error:
                self._tell(who, address, error)
                raise
        elif session and self._sessions is not None:
            try:
                who = await self._sessions.owner_of(session)
            except Unauthenticated as error:
                self.judge(who, address, error.message)
                return who
        self.judge(who, address, shown.why)
        return who

    def judge(self, who: Principal, address: str, why: str = "") -> None:
        """Raise Unauthenticated or Forbidden for who may not make this call. why: a stranger is one."""
        if self._is_strangers or may(who, self._needs):
            return
        needed = " or ".join(sorted(self._needs.any_of))
        error = (
            _unauthenticated(
                f"this needs a credential with the permission {needed}{f', and {why}' if why else ''}"
            )
            if who is self.stranger
            else Forbidden(f"{who.name} lacks the permission {needed}; docs/security.md says who has it")
        )
        if not (self.reads_sessions and who is self.stranger):  # who is sent to the page where to log in
            self._tell(who, address, error)
        raise error

    async def _owner(self, credentials: Sequence[str]) -> Principal:
        if len(credentials) > 1:
            raise _unauthenticated("more than one Authorization was sent")
        scheme, token = credentials[0][: len(_BEARER)], credentials[0][len(_BEARER) :].strip()
        if scheme.lower() != _BEARER or not token:
            raise _unauthenticated("the Authorization is no bearer token")
        if self._tokens is None:
            raise _unauthenticated("no token is known here")
        return await self._tokens.owner_of(token)

    def _tell(self, who: Principal, address: str, error: Unauthenticated | Forbidden) -> None:
        self._told(Refusal(who, address, self._call, self._needs, error.message))


class Gate:
    """Makes the doors, as `Access` of the configuration says.

    origins: whose pages may change something beside our own. hosts: by which names a server on loopback may
    be asked; None where any will do. tokens, certificates, sessions: None where none is known. told: of each
    refusal.
    """

    def __init__(
        self,
        mode: Mode = Mode.OFF,
        *,
        metrics_are_open: bool = True,
        origins: Collection[str] = (),
        hosts: OurHosts | None = None,
        tokens: Tokens | None = None,
        certificates: KnownCertificates | None = None,
        sessions: Sessions | None = None,
        told: Told = lambda _: None,
    ) -> None:
        self._stranger = anonymous(mode, metrics_are_open=metrics_are_open)
        self._origins = frozenset(origins)
        self._hosts = hosts
        self._tokens = tokens
        self._certificates = certificates
        self._sessions = sessions
        self._told = told

    def asked_by(self, hosts: OurHosts | None) -> "Gate":
        """The same for a port that is asked by these names; None where any will do."""
        other = copy(self)
        other._hosts = hosts
        return other

    def door(self, call: str, needs: Needs, *, is_page: bool = False) -> Door:
        """The door of one call. call: its path or method. is_page: whether a session is a credential."""
        sessions = self._sessions if is_page else None
        return Door(call, needs, self._stranger, self._tokens, self._told, self._certificates, sessions)

    def check_host(self, host: str | None) -> None:
        """Raise Forbidden for a request to a server on loopback that came by a name which is not its own."""
        if self._hosts is not None and not self._hosts.has(host):
            raise Forbidden(
                f"this coordinator listens on loopback alone, and is not called {str(host)[:200]}:"
                " ask 127.0.0.1, or name the origin of the proxy before it in Access.Origins"
            )

    def check_page(self, headers: Mapping[str, str]) -> None:
        """Raise Forbidden for a changing request that a page of another site made in somebody's browser."""
        if why := why_cross_site(headers, self._origins):
            raise Forbidden(why)


def check_gid(who: Principal, gid: str) -> None:
    """Raise Forbidden for a gid that is not the principal's."""
    if not who.owns(gid):
        raise Forbidden(f"{who.name} may use gids that begin with '{who.gid_prefix}' alone, not '{gid}'")


def _unauthenticated(why: str) -> Unauthenticated:
    return Unauthenticated(f"{why}: send `Authorization: Bearer TOKEN`, with one made by `dtm token create`")


def _is_ours(credentials: Sequence[str]) -> bool:
    """Whether there is a token of ours among them; what else stands there may be for a proxy on the way."""
    return any(value[len(_BEARER) :].lstrip().startswith(PREFIX) for value in credentials)
