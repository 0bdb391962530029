"""Logging in and out: by a password here, or at an issuer of OpenID Connect."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from coordinator.access.audit import Actor
from coordinator.access.cookies import LOGIN_SECONDS, Cookies
from coordinator.access.login import Login
from coordinator.access.oidc import OidcLogin
from coordinator.access.permissions import OPEN, OPEN_CHANGE
from coordinator.access.session_book import SessionBook
from coordinator.config.oidc import CALLBACK
from coordinator.console.own_path import own_path
from coordinator.console.page import Content, Page, SeeOther, Shown, Visit, path_to
from coordinator.errors import Busy, DtmError, Forbidden, IssuerUnavailable, TooOften, Unauthenticated
from coordinator.telemetry.log import log

PATH = "/login"


@dataclass(frozen=True, slots=True)
class SignIn:
    """What lets people in."""

    login: Login
    book: SessionBook
    oidc: OidcLogin | None = None  # at an issuer


class LoginPages:
    """sign_in: None where nobody is asked who they are."""

    def __init__(self, sign_in: SignIn | None) -> None:
        self._sign_in = sign_in

    def all(self) -> Sequence[Page]:
        """The form, what it asks for, and the way out."""
        return (
            Page("GET", PATH, OPEN, self._show),
            Page("POST", PATH, OPEN_CHANGE, self._enter),
            Page("POST", "/logout", OPEN_CHANGE, self._leave),
            Page("GET", f"{PATH}/issuer", OPEN, self._to_issuer),
            Page("GET", CALLBACK, OPEN, self._from_issuer),
        )

    async def _show(self, visit: Visit) -> Content:
        back = own_path(visit.query.get("return_to", "/"))
        if self._sign_in is None:
            return SeeOther(back)
        with suppress(Unauthenticated):
            await self._sign_in.book.session_of(_held(visit))
            return SeeOther(back)
        said = ""
        if visit.query.get("done"):  # logged in just now, and yet nothing is held
            said = "login.not_kept"
        elif left := visit.query.get("left"):
            said = "login.changed" if left == "changed" else "login.left"
        return self._form(back, said=said)

    async def _enter(self, visit: Visit) -> Content:
        back = own_path(visit.form.get("return_to", "/"))
        if self._sign_in is None:
            return SeeOther(back)
        name = visit.form.get("name", "")
        try:
            text = await self._sign_in.login.by_password(
                name, visit.form.get("password", ""), visit.address, replaces=_held(visit)
            )
        except Unauthenticated as error:
            return self._form(back, problem="login.wrong", name=name, status=error.http_status)
        except TooOften as error:
            return self._put_off(error, back, name)
        except Busy as error:
            return self._form(back, problem="login.busy", name=name, status=error.http_status)
        return entered(visit, text, back)

    async def _leave(self, visit: Visit) -> Content:
        cookies, held = cookies_of(visit), _held(visit)
        if self._sign_in is not None and held:
            await self._sign_in.login.end(held, await self._actor(visit, held))
        return SeeOther(path_to("login", left="1"), (cookies.drop(cookies.session),))

    async def _to_issuer(self, visit: Visit) -> Content:
        back = own_path(visit.query.get("return_to", "/"))
        if self._sign_in is None or self._sign_in.oidc is None:
            return SeeOther(path_to("login", return_to=back))
        try:
            begun = await self._sign_in.oidc.begin(back)
        except IssuerUnavailable as error:
            return self._refused(error, "", back)
        cookies = cookies_of(visit)
        return SeeOther(begun.url, (cookies.set(cookies.login, begun.held, seconds=LOGIN_SECONDS),))

    async def _from_issuer(self, visit: Visit) -> Content:
        if self._sign_in is None or self._sign_in.oidc is None:
            return SeeOther(PATH)
        cookies, login = cookies_of(visit), self._sign_in.login
        over = cookies.drop(cookies.login)
        try:
            await login.slow_down(visit.address)
            came = await self._sign_in.oidc.finish(visit.cookies.get(cookies.login, ""), visit.query)
            text = await login.by_identity(came.who, visit.address, replaces=_held(visit))
        except TooOften as error:
            return self._put_off(error)
        except Busy as error:
            return self._form(problem="login.busy", status=error.http_status)
        except (Unauthenticated, Forbidden, IssuerUnavailable) as error:
            return self._refused(error, visit.address, cookies=(over,))
        to = entered(visit, text, own_path(came.back))
        return SeeOther(to.path, (*to.cookies, over))

    def _refused(
        self, error: DtmError, address: str, back: str = "/", *, cookies: tuple[str, ...] = ()
    ) -> Content:
        """The form again; why is in the record and the log, and not for everybody."""
        assert self._sign_in is not None
        if isinstance(error, IssuerUnavailable):
            log.warning("nobody can log in at the issuer of OpenID Connect: {}", error.message)
            problem = "login.issuer_away"
        else:
            self._sign_in.login.refused("", address, error.message)
            problem = "login.no_group" if isinstance(error, Forbidden) else "login.begin_again"
        return self._form(back, problem=problem, status=error.http_status, cookies=cookies)

    def _put_off(self, error: TooOften, back: str = "/", name: str = "") -> Shown:
        problem = "login.too_often"
        form = self._form(back, problem=problem, seconds=error.seconds, name=name, status=error.http_status)
        return too_often(error, form)

    def _form(
        self,
        back: str = "/",
        *,
        problem: str = "",
        said: str = "",
        name: str = "",
        seconds: int = 0,
        status: int = 200,
        cookies: tuple[str, ...] = (),
    ) -> Shown:
        oidc = self._sign_in.oidc if self._sign_in else None
        values = {
            "back": back,
            "problem": problem,
            "said": said,
            "name": name[:100],
            "seconds": seconds,
            "issuer": urlsplit(oidc.client.issuer).hostname if oidc else "",
        }
        return Shown("login.html", values, status, cookies)

    async def _actor(self, visit: Visit, held: str) -> Actor:
        assert self._sign_in is not None
        with suppress(DtmError):
            who = (await self._sign_in.book.session_of(held)).who
            return Actor(who.name, who.method, visit.address)
        return visit.actor


def too_often(error: TooOften, page: Shown) -> Shown:
    """The page that says so, with the header by which programs know when to come again."""
    return replace(page, headers={"Retry-After": str(error.seconds)})


def entered(visit: Visit, text: str, back: str) -> SeeOther:
    """Where somebody goes who was let in. text: what the browser holds from now on."""
    cookies = cookies_of(visit)
    return SeeOther(path_to("login", done="1", return_to=back), (cookies.set(cookies.session, text),))


def cookies_of(visit: Visit) -> Cookies:
    """The cookies of this visit."""
    return Cookies.of(visit.host, is_encrypted=visit.is_encrypted)


def _held(visit: Visit) -> str:
    return visit.cookies.get(cookies_of(visit).session, "")
