"""The inbox: what is stuck, by whom it is held up, and how all else is doing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from coordinator.access.gate import check_gid
from coordinator.access.permissions import Permission, changes, looks
from coordinator.api.masking import inbox_shown_to
from coordinator.console.page import Content, Page, SeeOther, Shown, Visit, path_to
from coordinator.errors import DtmError, Invalid
from coordinator.explain.actions import Action
from coordinator.explain.codes import CODES
from coordinator.explain.why import code_of
from coordinator.service.filter_grammar import quoted
from coordinator.service.operate import Operate, Wish
from coordinator.service.overview import Overview, Prospect
from coordinator.store.fleet import Roll
from coordinator.store.operate_tables import Group, Inbox
from coordinator.watching.census import Census
from coordinator.watching.pace import Pace


@dataclass(frozen=True, slots=True)
class Figures:
    """How this coordinator, and the store, are doing. None: not known."""

    census: Census
    pace: Pace


@dataclass(frozen=True, slots=True)
class _Line:
    """One group, as the page has it."""

    prospect: Prospect
    code: str
    filter: str
    is_trouble: bool


class InboxPage:
    """The home of the console."""

    def __init__(self, overview: Overview, operate: Operate, figures: Figures) -> None:
        self._overview = overview
        self._operate = operate
        self._figures = figures

    def all(self) -> Sequence[Page]:
        """The page, and what its buttons ask for."""
        return (
            Page("GET", "/", looks(Permission.READ), self._show, place=10),
            Page("POST", "/inbox/probe", changes(Permission.OPERATE), self._probe),
        )

    async def _show(self, visit: Visit) -> Content:
        glance = await self._overview.glance()
        masked = inbox_shown_to(visit.who, Inbox([it.group for it in glance.prospects], glance.total))
        lines = [
            _line(replace(it, group=group)) for it, group in zip(glance.prospects, masked.groups, strict=True)
        ]
        census, pace = self._figures.census, self._figures.pace
        by_status = census.by_status()
        return Shown(
            "inbox.html",
            {
                "total": glance.total,
                "shown_mark": glance.mark,
                "lines": lines,
                "unfinished": None if by_status is None else round(sum(by_status.values())),
                "oldest": census.oldest_seconds(),
                "due": census.due(),
                "lag": census.lag_seconds(),
                "per_second": pace.per_second(),
                "median": pace.median_seconds(),
                "rolled_back": pace.rolled_back_share(),
                "roll": await self._roll(),
            },
        )

    async def _roll(self) -> Roll | None:
        try:
            return await self._operate.lately()
        except DtmError:  # a store that keeps no list
            return None

    async def _probe(self, visit: Visit) -> Content:
        """Retry one, to see whether the cause is gone before all are retried."""
        gid = visit.form.get("gid", "")
        if not gid:
            raise Invalid("gid: says which transaction to try")
        check_gid(visit.who, gid)
        await self._operate.act(gid, Wish(Action.RETRY), "", visit.actor, "probe")
        return SeeOther(path_to("transactions", gid))


def filter_of(group: Group) -> str:
    """The filter that finds the transactions of a group."""
    terms = (("endpoint", group.endpoint), ("op", group.op), ("cause", group.fingerprint))
    return " ".join(f"{key}:{quoted(value)}" for key, value in terms if value)


def _line(prospect: Prospect) -> _Line:
    example = prospect.group.example
    code = CODES[code_of(example.kind, example.answered)]
    return _Line(prospect, code.id, filter_of(prospect.group), code.is_trouble)
