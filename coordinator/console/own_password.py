"""Everybody's own password: changed by who knows the one of today; then they log in with the new one."""

from collections.abc import Sequence
from typing import Final

from coordinator.access.permissions import Permission, changes, looks
from coordinator.access.sessions import BY_PASSWORD
from coordinator.console.access import Keys
from coordinator.console.login import too_often
from coordinator.console.page import Content, Page, SeeOther, Shown, Visit, path_to
from coordinator.errors import Busy, Forbidden, Invalid, TooOften, Unauthenticated

PATH: Final = "/password"


class OwnPasswordPage:
    """keys: None where nobody is asked who they are."""

    def __init__(self, keys: Keys | None) -> None:
        self._keys = keys

    def all(self) -> Sequence[Page]:
        """The form, and what it asks for."""
        return (
            Page("GET", PATH, looks(Permission.READ), self._show),
            Page("POST", PATH, changes(Permission.READ), self._change),
        )

    async def _show(self, visit: Visit) -> Content:
        return _form(has_password=self._keys is not None and visit.who.method == BY_PASSWORD)

    async def _change(self, visit: Visit) -> Content:
        keys, name, form = self._keys, visit.who.name, visit.form
        if keys is None or visit.who.method != BY_PASSWORD:
            raise Forbidden("only who has logged in by a password here has one to change")
        if form.get("password", "") != form.get("again", ""):
            return _form(problem=visit.words("password.not_the_same"), status=400)
        try:
            await keys.login.compare(name, form.get("current", ""), visit.address)
            await keys.people.set_password(visit.actor, name, form.get("password", ""))
        except Unauthenticated:
            return _form(problem=visit.words("password.wrong"), status=400)
        except Invalid as error:
            return _form(problem=error.message, status=400)
        except TooOften as error:
            problem = visit.words("login.too_often", count=error.seconds)
            return too_often(error, _form(problem=problem, status=error.http_status))
        except Busy as error:
            return _form(problem=visit.words("login.busy"), status=error.http_status)
        keys.book.has_changed()  # every session of theirs has ended, this one too
        return SeeOther(path_to("login", left="changed"))


def _form(*, has_password: bool = True, problem: str = "", status: int = 200) -> Shown:
    return Shown("own_password.html", {"has_password": has_password, "problem": problem}, status)
