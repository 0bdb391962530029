"""Who may do what: people and their sessions, tokens; listed, made, changed, revoked by an admin alone."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from coordinator.access.issuing import Issuing
from coordinator.access.login import Login
from coordinator.access.people import People
from coordinator.access.permissions import HUMAN_ROLES, Permission, Role, changes, looks
from coordinator.access.session_book import SessionBook
from coordinator.access.sessions import BY_PASSWORD
from coordinator.access.tokens import DAYS
from coordinator.console.page import Content, Page, SeeOther, Shown, Visit, path_to
from coordinator.errors import Conflict, Forbidden, Invalid
from coordinator.store.access_tables import TokensRead
from coordinator.store.people_tables import UserRow

_PATH: Final = "/access"
_LOOKS: Final = looks(Permission.ADMIN)
_CHANGES: Final = changes(Permission.ADMIN)
_ASKED: Final = ("disable", "enable", "remove")  # of somebody, after the question whether it is meant
_HOME: Final = SeeOther(_PATH)


@dataclass(frozen=True, slots=True)
class Keys:
    """What the page looks at and changes. issuer: of OpenID Connect; empty where there is none."""

    people: People
    login: Login
    book: SessionBook
    issuing: Issuing
    users: Callable[[], Awaitable[Sequence[UserRow]]]
    tokens: Callable[[], Awaitable[TokensRead]]
    issuer: str = ""


class AccessPage:
    """keys: None where nobody is asked who they are: then nothing is shown or changed, as anybody could."""

    def __init__(self, keys: Keys | None) -> None:
        self._given = keys

    def all(self) -> Sequence[Page]:
        """The pages, and what their forms ask for."""
        user, token = f"{_PATH}/users/{{name}}", f"{_PATH}/tokens/{{id}}/revoke"
        return (
            Page("GET", _PATH, _LOOKS, self._show, place=90),
            Page("POST", f"{_PATH}/users", _CHANGES, self._add),
            Page("GET", user, _LOOKS, self._show_user),
            Page("POST", f"{user}/role", _CHANGES, self._set_role),
            Page("POST", f"{user}/password", _CHANGES, self._set_password),
            *(Page("GET", f"{user}/{it}", _LOOKS, self._ask_about_user) for it in _ASKED),
            Page("POST", f"{user}/disable", _CHANGES, self._disable),
            Page("POST", f"{user}/enable", _CHANGES, self._enable),
            Page("POST", f"{user}/remove", _CHANGES, self._remove),
            Page("POST", f"{_PATH}/sessions", _CHANGES, self._end_session),
            Page("POST", f"{_PATH}/tokens", _CHANGES, self._make_token),
            Page("GET", token, _LOOKS, self._ask_about_token),
            Page("POST", token, _CHANGES, self._revoke),
        )

    @property
    def _keys(self) -> Keys:
        if self._given is None:
            raise Forbidden(
                "Access.Mode is off, so that anybody could add themselves here: `dtm user` and `dtm token` do"
                " that on the coordinator's own machine"
            )
        return self._given

    async def _show(self, visit: Visit, problem: str = "") -> Content:
        if self._given is None:
            return Shown("access_off.html")
        keys = self._keys
        sessions = [it.row for it in await keys.book.standing()]
        read = await keys.tokens()
        standing = [it for it in read.tokens if it.revoked is None and it.expires > read.now]
        values: dict[str, Any] = {
            "users": await keys.users(),
            "sessions": sessions,
            "tokens": standing,
            "over": len(read.tokens) - len(standing),
            "roles": HUMAN_ROLES,
            "token_roles": tuple(Role),
            "days": DAYS,
            "issuer": keys.issuer,
            "problem": problem,
            "form": visit.form,
        }
        return Shown("access.html", values, 400 if problem else 200)

    async def _add(self, visit: Visit) -> Content:
        form, people = visit.form, self._keys.people
        try:
            await people.add(
                visit.actor,
                form.get("name", ""),
                role=form.get("role", ""),
                password=form.get("password", ""),
            )
        except (Invalid, Conflict) as error:
            return await self._show(visit, error.message)
        return _HOME

    async def _show_user(self, visit: Visit, problem: str = "") -> Content:
        user = await self._keys.people.known(visit.values["name"])
        values = {"user": user, "roles": HUMAN_ROLES, "problem": problem, "is_me": _is_me(visit, user.name)}
        return Shown("access_user.html", values, 400 if problem else 200)

    async def _set_role(self, visit: Visit) -> Content:
        name, role = visit.values["name"], visit.form.get("role", "")
        return await self._changed(visit, self._keys.people.set_role(visit.actor, _other(visit, name), role))

    async def _set_password(self, visit: Visit) -> Content:
        name, password = visit.values["name"], visit.form.get("password", "")
        return await self._changed(visit, self._keys.people.set_password(visit.actor, name, password))

    async def _ask_about_user(self, visit: Visit) -> Content:
        change = visit.path.rpartition("/")[2]
        user = await self._keys.people.known(visit.values["name"])
        action, back = ("access", "users", user.name, change), ("access", "users", user.name)
        return _sure(change, user.name, action, back)

    async def _disable(self, visit: Visit) -> Content:
        name = _other(visit, visit.values["name"])
        return await self._changed(visit, self._keys.people.set_disabled(visit.actor, name, True))

    async def _enable(self, visit: Visit) -> Content:
        name = visit.values["name"]
        return await self._changed(visit, self._keys.people.set_disabled(visit.actor, name, False))

    async def _remove(self, visit: Visit) -> Content:
        await self._keys.people.remove(visit.actor, _other(visit, visit.values["name"]))
        self._keys.book.has_changed()
        return _HOME

    async def _changed(self, visit: Visit, change: Awaitable[None]) -> Content:
        try:
            await change
        except Invalid as error:
            return await self._show_user(visit, error.message)
        self._keys.book.has_changed()
        return SeeOther(path_to("access", "users", visit.values["name"]))

    async def _end_session(self, visit: Visit) -> Content:
        wanted = visit.form.get("session", "")
        found = [it.row for it in await self._keys.book.standing() if it.row.hash == wanted]
        for row in found:
            await self._keys.login.end_session(row.hash, row.name, visit.actor)
        return _HOME

    async def _make_token(self, visit: Visit) -> Content:
        form = visit.form
        try:
            text = await self._keys.issuing.create(
                visit.actor,
                name=form.get("name", ""),
                role=form.get("role", ""),
                gid_prefix=form.get("gid_prefix", ""),
                days=_days(form.get("days", "")),
            )
        except Invalid as error:
            return await self._show(visit, error.message)
        return Shown("access_token.html", {"text": text, "name": form.get("name", "")})

    async def _ask_about_token(self, visit: Visit) -> Content:
        identifier = visit.values["id"]
        read = await self._keys.tokens()
        name = next((it.name for it in read.tokens if it.id == identifier), identifier)
        return _sure("revoke", name, ("access", "tokens", identifier, "revoke"), ("access",))

    async def _revoke(self, visit: Visit) -> Content:
        await self._keys.issuing.revoke(visit.actor, visit.values["id"])
        return _HOME


def _sure(change: str, name: str, action: tuple[str, ...], back: tuple[str, ...]) -> Shown:
    return Shown("access_sure.html", {"change": change, "name": name, "action": action, "back": back})


def _is_me(visit: Visit, name: str) -> bool:
    return visit.who.method == BY_PASSWORD and visit.who.name == name


def _other(visit: Visit, name: str) -> str:
    if _is_me(visit, name.strip().lower()):
        raise Conflict(
            "this is yourself: another admin can do that, or `dtm user` on the coordinator's machine"
        )
    return name


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise Invalid(f"days: must be a whole number, not {text[:20]!r}")
    return int(text)
