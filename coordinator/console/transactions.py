"""The list of transactions: a filter, its chips, pages that stay where they are."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from coordinator.access.permissions import Permission, changes, looks
from coordinator.api.masking import found_by
from coordinator.console.page import Content, Page, SeeOther, Shown, Visit, path_to
from coordinator.console.views import COOKIE, saved_views, views_cookie, with_view
from coordinator.errors import Invalid
from coordinator.service.operate import Operate
from coordinator.store import search

_ROWS: Final = 50
_TERM: Final = re.compile(r'-?[A-Za-z_]+:(?:"(?:[^"\\]|\\.)*"|[^\s"]+)')
# Views that everybody wants now and then, by the key of their name.
_VIEWS: Final = {
    "all": "",
    "unfinished": "status:prepared status:submitted status:aborting",
    "aborting": "status:aborting",
    "old": "status:submitted status:aborting age:>5m",
    "ended_badly": "status:failed",
}


@dataclass(frozen=True, slots=True)
class _Chip:
    """One term of the filter. without: the filter that lacks it."""

    term: str
    without: str


class TransactionsPage:
    """Looks for transactions."""

    def __init__(self, operate: Operate) -> None:
        self._operate = operate

    def all(self) -> Sequence[Page]:
        """The page, and what saves a view of it."""
        return (
            Page("GET", "/transactions", looks(Permission.READ), self._show, place=20),
            Page("POST", "/views", changes(Permission.READ), _save),
            Page("POST", "/views/forget", changes(Permission.READ), _forget),
        )

    async def _show(self, visit: Visit) -> Content:
        wanted, after = visit.query.get("filter", "").strip(), visit.query.get("after", "")
        problem, status, page = "", 200, search.Page((), "")
        try:
            page = await self._operate.search(wanted, after=after, limit=_ROWS)
        except Invalid as error:  # said beside the filter, which stays to be mended
            problem, status = error.message, 400
        saved = saved_views(visit.cookies.get(COOKIE, ""))
        return Shown(
            "transactions.html",
            {
                "filter": wanted,
                "after": after,
                "problem": problem,
                "page": found_by(visit.who, page),
                "chips": _chips(wanted) if not problem else [],
                "views": _VIEWS,
                "saved": saved,
                "mine": next((name for name, its in saved.items() if its == wanted), ""),
            },
            status,
        )


async def _save(visit: Visit) -> Content:
    wanted = visit.form.get("filter", "").strip()
    views = with_view(saved_views(visit.cookies.get(COOKIE, "")), visit.form.get("name", "").strip(), wanted)
    return SeeOther(path_to("transactions", filter=wanted), (views_cookie(views, visit.base or "/"),))


async def _forget(visit: Visit) -> Content:
    name = visit.form.get("name", "")
    views = saved_views(visit.cookies.get(COOKIE, ""))
    kept = {other: wanted for other, wanted in views.items() if other != name}
    return SeeOther(path_to("transactions"), (views_cookie(kept, visit.base or "/"),))


def _chips(wanted: str) -> list[_Chip]:
    terms = _TERM.findall(wanted)
    return [
        _Chip(term, " ".join(it for other, it in enumerate(terms) if other != number))
        for number, term in enumerate(terms)
    ]
