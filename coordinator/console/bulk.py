"""One action asked of many: the jobs, what a new one would be about, and how one is getting on."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from coordinator.access.permissions import Permission, changes, looks
from coordinator.api.fields import INT64_MAX
from coordinator.api.operate_calls import NEEDS, action_named
from coordinator.console.page import Answering, Content, Page, SeeOther, Shown, Visit, path_to
from coordinator.errors import DtmError, Failure, Invalid
from coordinator.explain.actions import Action
from coordinator.owner import SEPARATOR
from coordinator.service.bulk import Asker, Bulk
from coordinator.service.bulk_plan import (
    ACTIONS,
    CONFIRMED_ABOVE,
    RATE_DEFAULT,
    RATE_MAX,
    Plan,
    Unconfirmed,
    Wish,
)
from coordinator.store.bulk_rows import ItemResult, Job, State

_JOBS: Final = 50
_ITEMS: Final = 50
_WAITING: Final = "waiting"
_RESULTS: Final = (*(result.value for result in ItemResult), _WAITING)
_DIGITS_MAX: Final = 18
_MOVES: Final = changes(Permission.OPERATE, Permission.OPERATE_FORCE)

Moves = Callable[[int, Asker, str], Awaitable[Job]]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What stands in the form. plan: None before it was looked at. problem: why that is not done."""

    filter: str = ""
    action: str = ""
    reason: str = ""
    rate: str = str(RATE_DEFAULT)
    plan: Plan | None = None
    problem: str = ""
    status: int = 200


class BulkPages:
    """The jobs, and the forms that make and move them."""

    def __init__(self, bulk: Bulk) -> None:
        self._bulk = bulk

    def all(self) -> Sequence[Page]:
        """The pages, and what their forms ask for."""
        read, bulk = looks(Permission.READ), self._bulk
        moves: Mapping[str, Moves] = {"pause": bulk.pause, "resume": bulk.resume, "cancel": bulk.cancel}
        return (
            Page("GET", "/bulk", read, self._list, place=50),
            Page("GET", "/bulk/new", read, self._new),
            Page("GET", "/bulk/{id}", read, self._show),
            *(
                Page("POST", f"/bulk/{action}", changes(NEEDS[action]), self._making(action))
                for action in ACTIONS
            ),
            *(
                Page("POST", f"/bulk/{{id}}/{verb}", _MOVES, self._moving(move))
                for verb, move in moves.items()
            ),
            Page("POST", "/bulk/{id}/again", _MOVES, self._again),
        )

    async def _list(self, visit: Visit) -> Content:
        before_id = _number("after", visit.query.get("after", "")) or None
        jobs = await self._bulk.jobs(limit=_JOBS + 1, before_id=before_id)
        return Shown(
            "bulk_jobs.html",
            {
                "jobs": jobs[:_JOBS],
                "running": sum(job.state is State.RUNNING for job in jobs),
                "after": str(jobs[_JOBS - 1].id) if len(jobs) > _JOBS else "",
            },
        )

    async def _new(self, visit: Visit) -> Content:
        asked = _Asked(visit.query.get("filter", "").strip(), visit.query.get("action", ""))
        return _form(visit, await self._looked_at(visit, asked) if asked.action else asked)

    async def _looked_at(self, visit: Visit, asked: _Asked) -> _Asked:
        try:
            plan = await self._bulk.plan(Wish(action_named(asked.action), asked.filter), _asker(visit))
        except Invalid as error:
            return _with_problem(asked, error)
        return _Asked(asked.filter, asked.action, plan=plan)

    def _making(self, action: Action) -> Answering:
        async def made(visit: Visit) -> Content:
            form = visit.form
            asked = _Asked(
                form.get("filter", "").strip(),
                action.value,
                form.get("reason", "").strip(),
                form.get("rate", ""),
            )
            try:
                wish = Wish(
                    action,
                    asked.filter,
                    _number("id_max", form.get("id_max", "")),
                    asked.reason,
                    _number("rate", asked.rate) if asked.rate else RATE_DEFAULT,
                    _number("confirm", form.get("confirm", "")),
                )
                if not wish.reason:
                    raise Invalid("reason: say why; it stands in the record of who did what")
                job = await self._bulk.make(wish, _asker(visit), needs=NEEDS[action].value)
            except Unconfirmed as error:
                return _form(visit, _with_problem(asked, error, error.plan))
            except (Invalid, Failure) as error:
                looked_at = await self._looked_at(visit, asked)
                return _form(visit, _with_problem(asked, error, looked_at.plan))
            return SeeOther(path_to("bulk", str(job.id)))

        return made

    async def _show(self, visit: Visit) -> Content:
        job_id, result = _job_id(visit), visit.query.get("result", "")
        if result and result not in _RESULTS:
            raise Invalid(f"result: must be one of {', '.join(_RESULTS)}, not {result[:40]!r}")
        job = await self._bulk.show(job_id)
        wanted = ("" if result == _WAITING else result,) if result else ()
        after = _number("after", visit.query.get("after", ""))
        items = await self._bulk.items(job_id, results=wanted, after=after, limit=_ITEMS + 1)
        return Shown(
            "bulk_job.html",
            {
                "job": job,
                "needed": visit.may(Permission(job.needs)),
                "may_move": visit.may(Permission.OPERATE) or visit.may(Permission.OPERATE_FORCE),
                "coordinator": job.owner.rsplit(SEPARATOR, 2)[0] if job.state is State.RUNNING else "",
                "items": items[:_ITEMS],
                "after": str(items[_ITEMS - 1].number) if len(items) > _ITEMS else "",
                "result": result,
                "results": _RESULTS,
                "confirmed_above": CONFIRMED_ABOVE,
            },
        )

    def _moving(self, move: Moves) -> Answering:
        async def moved(visit: Visit) -> Content:
            job = await move(_job_id(visit), _asker(visit), visit.form.get("reason", "").strip())
            return SeeOther(path_to("bulk", str(job.id)))

        return moved

    async def _again(self, visit: Visit) -> Content:
        confirm = _number("confirm", visit.form.get("confirm", ""))
        reason = visit.form.get("reason", "").strip()
        job = await self._bulk.again(_job_id(visit), _asker(visit), reason=reason, confirm=confirm)
        return SeeOther(path_to("bulk", str(job.id)))


def _form(visit: Visit, asked: _Asked) -> Shown:
    allowed = [action.value for action in ACTIONS if visit.may(NEEDS[action])]
    values: dict[str, Any] = {
        "asked": asked,
        "actions": [action.value for action in ACTIONS],
        "may_begin": asked.action in allowed,
        "confirmed_above": CONFIRMED_ABOVE,
        "rate_max": RATE_MAX,
    }
    return Shown("bulk_new.html", values, asked.status)


def _with_problem(asked: _Asked, error: DtmError, plan: Plan | None = None) -> _Asked:
    status = 409 if isinstance(error, Failure) else 400
    message = error.message.removesuffix(" FAILURE")
    return _Asked(asked.filter, asked.action, asked.reason, asked.rate, plan, message, status)


def _asker(visit: Visit) -> Asker:
    return Asker(visit.who, visit.address)


def _job_id(visit: Visit) -> int:
    number = _number("id", visit.values["id"])
    if not number:
        raise Invalid("id: must be the number of a bulk job")
    return number


def _number(name: str, text: str) -> int:
    """The number that was typed, with thousands told apart or not; 0 for nothing. Raises Invalid."""
    digits = text.strip().replace(",", "")
    if not digits:
        return 0
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _DIGITS_MAX):
        raise Invalid(f"{name}: must be a number from 0 to {INT64_MAX}, not {text[:40]!r}")
    return int(digits)
