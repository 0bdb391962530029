"""Endpoints: how calls there go and what waits for them; holding one for a known outage, and releasing it."""

from collections.abc import Sequence
from typing import Any, Final

from coordinator.access.permissions import Permission, changes, looks
from coordinator.api.masking import endpoint_shown_to
from coordinator.console.page import Content, Page, SeeOther, Shown, Visit, path_to
from coordinator.errors import DtmError, Failure, Invalid
from coordinator.service.endpoints import HOLD_SECONDS_MAX, REASON_MAX, Endpoints
from coordinator.service.filter_grammar import quoted
from coordinator.watching.endpoint_record import LATELY_SECONDS

_ONE: Final = "/endpoints/{endpoint}"
_MINUTES_MAX: Final = HOLD_SECONDS_MAX // 60
_DIGITS_MAX: Final = 8


class EndpointPages:
    """The list, one endpoint, and the forms that hold and release it."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    def all(self) -> Sequence[Page]:
        """The pages, and what their forms ask for."""
        read, operate = looks(Permission.READ), changes(Permission.OPERATE)
        return (
            Page("GET", "/endpoints", read, self._list, place=30),
            Page("GET", "/endpoints/find", read, _find),
            Page("GET", _ONE, read, self._one),
            Page("GET", f"{_ONE}/hold", read, self._preview),
            Page("POST", f"{_ONE}/hold", operate, self._hold),
            Page("POST", f"{_ONE}/release", operate, self._release),
        )

    async def _list(self, visit: Visit) -> Content:
        found = [endpoint_shown_to(visit.who, it) for it in await self._endpoints.all()]
        held = sum(it.hold is not None for it in found)
        return Shown("endpoints.html", {"found": found, "held": held, "minutes": LATELY_SECONDS // 60})

    async def _one(self, visit: Visit) -> Content:
        return await self._shown(visit)

    async def _shown(self, visit: Visit, problem: str = "", status: int = 200) -> Shown:
        seen = endpoint_shown_to(visit.who, await self._endpoints.one(visit.values["endpoint"]))
        values: dict[str, Any] = {
            "seen": seen,
            "filter": f"endpoint:{quoted(seen.endpoint)}",
            "minutes": LATELY_SECONDS // 60,
            "minutes_max": _MINUTES_MAX,
            "reason_max": REASON_MAX,
            "wanted": {"minutes": visit.query.get("minutes", "30"), "reason": visit.query.get("reason", "")},
            "problem": problem,
        }
        return Shown("endpoint.html", values, status)

    async def _preview(self, visit: Visit) -> Content:
        minutes, reason = visit.query.get("minutes", ""), visit.query.get("reason", "").strip()
        if not (minutes or reason):
            return SeeOther(path_to("endpoints", visit.values["endpoint"]))
        try:
            if not reason:
                raise Invalid("reason: say why, for those who find that nothing is called")
            name, seconds = visit.values["endpoint"], 60 * _minutes(minutes)
            made = await self._endpoints.preview(name, seconds, reason, visit.who.name)
        except Invalid as error:
            return await self._shown(visit, error.message, 400)
        return Shown("endpoint_hold.html", {"made": made, "minutes": minutes})

    async def _hold(self, visit: Visit) -> Content:
        form, name = visit.form, visit.values["endpoint"]
        try:
            seconds = 60 * _minutes(form.get("minutes", ""))
            await self._endpoints.hold(name, seconds, form.get("reason", ""), visit.actor)
        except (Invalid, Failure) as error:
            return await self._failed(visit, error)
        return SeeOther(path_to("endpoints", name))

    async def _release(self, visit: Visit) -> Content:
        name, reason = visit.values["endpoint"], visit.form.get("reason", "").strip()
        try:
            await self._endpoints.release(name, visit.actor, reason)
        except (Invalid, Failure) as error:
            return await self._failed(visit, error)
        return SeeOther(path_to("endpoints", name))

    async def _failed(self, visit: Visit, error: DtmError) -> Content:
        status = 409 if isinstance(error, Failure) else 400
        return await self._shown(visit, error.message.removesuffix(" FAILURE"), status)


async def _find(visit: Visit) -> Content:
    wanted = visit.query.get("endpoint", "").strip()
    return SeeOther(path_to("endpoints", wanted) if wanted else "/endpoints")


def _minutes(text: str) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _DIGITS_MAX):
        raise Invalid(f"minutes: must be a number from 1 to {_MINUTES_MAX}, not {text[:40]!r}")
    if not 1 <= int(digits) <= _MINUTES_MAX:
        raise Invalid(f"minutes: must be from 1 to {_MINUTES_MAX}, but is {int(digits)}")
    return int(digits)
