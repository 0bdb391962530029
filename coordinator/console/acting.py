"""Acting on one transaction: what it would do, the reason, and doing just that."""

from collections.abc import Mapping, Sequence
from typing import Final

from coordinator.access.permissions import Permission, changes, looks
from coordinator.api.operate_calls import NEEDS, wish_of
from coordinator.console.equal import command_of
from coordinator.console.page import Answering, Content, Page, SeeOther, Shown, Visit, path_to
from coordinator.console.transaction import effects_of, gid_of, or_missing, seen_by
from coordinator.errors import Failure
from coordinator.explain.actions import Action, SkipReason
from coordinator.explain.preview import Preview
from coordinator.service.operate import Operate, Outdated, Wish
from coordinator.timeline.teller import name_of

REASON_MAX: Final = 500  # characters
_CALLS_MAX: Final = 50


class ActingPages:
    """A page that shows what an action would do, and the form that does it."""

    def __init__(self, operate: Operate) -> None:
        self._operate = operate

    def all(self) -> Sequence[Page]:
        """The pages of each action."""
        pages = []
        for action in Action:
            path = f"/transactions/{{gid}}/{action.value}"
            pages.append(Page("GET", path, looks(Permission.READ), or_missing(self._preview_of(action))))
            pages.append(Page("POST", path, changes(NEEDS[action]), or_missing(self._act_of(action))))
        return pages

    def _preview_of(self, action: Action) -> Answering:
        async def answer(visit: Visit) -> Content:
            gid = gid_of(visit)
            given = _given(visit.query)
            if action is Action.SKIP and not given.get("branch_id"):
                return await self._choose(visit, gid)
            wish = wish_of(action, given)
            return _shown(visit, gid, wish, await self._operate.preview(gid, wish))

        return answer

    def _act_of(self, action: Action) -> Answering:
        async def answer(visit: Visit) -> Content:
            gid, given = gid_of(visit), visit.form
            wish, reason = wish_of(action, given), given.get("reason", "").strip()
            problem = _problem(action, reason)
            if problem:
                preview = await self._operate.preview(gid, wish)
                return _shown(visit, gid, wish, preview, problem=problem, reason=reason, status=400)
            try:
                await self._operate.act(gid, wish, given.get("hash", ""), visit.actor, reason)
            except Outdated as error:
                return _shown(
                    visit, gid, wish, error.preview, problem="acting.outdated", reason=reason, status=409
                )
            return SeeOther(path_to("transactions", gid))

        return answer

    async def _choose(self, visit: Visit, gid: str) -> Content:
        """Which branch is to be skipped, and why."""
        explained = seen_by(visit, await self._operate.show(gid))
        skip = next(it for it in explained.actions if it.action is Action.SKIP)
        if skip.why_not:
            raise Failure(f"{gid} cannot be asked to {Action.SKIP}: {skip.why_not}.")
        urls = {row.key: row.url for row in explained.stored.branches}
        branches = [(key, name_of(urls[key], key[1])) for key in skip.branches]
        reasons = {reason.name.lower(): reason.value for reason in SkipReason}
        return Shown("skip.html", {"gid": gid, "branches": branches[:_CALLS_MAX], "reasons": reasons})


def _given(query: Mapping[str, str]) -> Mapping[str, str]:
    """What was chosen. branch: op and branch_id in one, as one choice has them."""
    op, _, branch_id = query.get("branch", "").partition(" ")
    return {"branch_id": branch_id, "op": op, **query}


def _problem(action: Action, reason: str) -> str:
    """The key of what is wrong with a reason; a retry needs none."""
    if len(reason) > REASON_MAX:
        return "acting.reason_too_long"
    return "" if reason or action is Action.RETRY else "acting.reason_missing"


def _shown(
    visit: Visit,
    gid: str,
    wish: Wish,
    preview: Preview,
    *,
    problem: str = "",
    reason: str = "",
    status: int = 200,
) -> Content:
    calls = [
        {
            "at": call.at,
            "branch_id": call.branch.branch_id,
            "op": call.branch.op,
            "name": name_of(call.branch.url),
        }
        for call in preview.forecast.calls
    ]
    return Shown(
        "preview.html",
        {
            "gid": gid,
            "wish": wish,
            "preview": preview,
            "effects": effects_of(preview.effects),
            "calls": calls[:_CALLS_MAX],
            "calls_left_out": max(len(calls) - _CALLS_MAX, 0),
            "problem": problem,
            "reason": reason[:REASON_MAX],
            "reason_max": REASON_MAX,
            "is_permitted": visit.may(NEEDS[wish.action]),
            "command": command_of(gid, wish, reason),
            "is_dangerous": wish.action is not Action.RETRY,
        },
        status,
    )
