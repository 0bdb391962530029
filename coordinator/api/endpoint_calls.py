"""The calls about endpoints and what is held, under /api/operate/."""

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from functools import partial
from typing import Any, Final

import orjson
from aiohttp.web import BaseRequest

from coordinator.access.audit import Actor
from coordinator.access.permissions import Permission, Principal, changes, looks
from coordinator.api.fields import count, fold, parse_object, text
from coordinator.api.http_answer import Answer, Answers
from coordinator.api.http_calls import HttpCall
from coordinator.api.http_request import query_parameters, read_body
from coordinator.api.listing import integer
from coordinator.api.masking import endpoint_shown_to
from coordinator.api.operate_calls import OPERATE
from coordinator.api.render_endpoints import EndpointRenderer
from coordinator.api.room import Room
from coordinator.api.turns import LISTS_AT_ONCE, Turns
from coordinator.service.endpoints import Endpoints
from coordinator.watching.endpoint_record import LATELY_SECONDS

HOLDS: Final = f"{OPERATE}holds"
_FIELDS: Final = frozenset({"endpoint", "seconds", "reason"})


class EndpointCalls:
    """Decodes requests, asks the service, encodes its answers."""

    def __init__(
        self, endpoints: Endpoints, answers: Answers, *, zone: tzinfo | None, body_bytes_max: int, room: Room
    ) -> None:
        """See HttpApi."""
        self._endpoints = endpoints
        self._answers = answers
        self._render = EndpointRenderer(zone)
        self._read = partial(read_body, bytes_max=body_bytes_max, room=room)

    def all(self) -> Sequence[HttpCall]:
        """Every call there is."""
        lists = Turns(LISTS_AT_ONCE)
        read, operate = looks(Permission.READ), changes(Permission.OPERATE)
        return (
            HttpCall("GET", f"{OPERATE}endpoints", read, lists.of(self._list), "operate endpoints"),
            HttpCall("GET", HOLDS, read, self._holds, "operate holds"),
            HttpCall("GET", f"{HOLDS}/preview", read, lists.of(self._preview), "operate hold preview"),
            HttpCall("POST", HOLDS, operate, self._hold, "operate hold"),
            HttpCall("POST", f"{HOLDS}/release", operate, self._release, "operate release"),
        )

    async def _list(self, request: BaseRequest, who: Principal) -> Answer:
        wanted = query_parameters(request).get("endpoint", "")
        found = [await self._endpoints.one(wanted)] if wanted else await self._endpoints.all()
        shown = [self._render.endpoint(endpoint_shown_to(who, it)) for it in found]
        return self._json(request, {"endpoints": shown, "lately_seconds": LATELY_SECONDS})

    async def _holds(self, request: BaseRequest, _: Principal) -> Answer:
        return self._json(request, {"holds": [self._render.hold(it) for it in self._endpoints.holds()]})

    async def _preview(self, request: BaseRequest, who: Principal) -> Answer:
        given = query_parameters(request)
        made = await self._endpoints.preview(
            given.get("endpoint", ""), integer(given, "seconds") or 0, given.get("reason", ""), who.name
        )
        return self._json(request, self._render.preview(made, endpoint_shown_to(who, made.seen)))

    async def _hold(self, request: BaseRequest, who: Principal) -> Answer:
        document = fold(parse_object(await self._read(request)), _FIELDS)
        hold = await self._endpoints.hold(
            text(document, "endpoint"),
            count(document, "seconds"),
            text(document, "reason"),
            _actor(request, who),
        )
        return self._json(request, {"dtm_result": "SUCCESS", "hold": self._render.hold(hold)})

    async def _release(self, request: BaseRequest, who: Principal) -> Answer:
        document = fold(parse_object(await self._read(request)), _FIELDS)
        endpoint, reason = text(document, "endpoint"), text(document, "reason")
        await self._endpoints.release(endpoint, _actor(request, who), reason)
        return self._json(request, {"dtm_result": "SUCCESS"})

    def _json(self, request: BaseRequest, content: Mapping[str, Any]) -> Answer:
        return self._answers.make(request, orjson.dumps(content))


def _actor(request: BaseRequest, who: Principal) -> Actor:
    return Actor(who.name, who.method, request.remote or "")
