"""The calls under /api/operate/bulk: one action asked of many transactions, for people and scripts."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import tzinfo
from functools import partial
from typing import Any, Final

import orjson
from aiohttp.web import BaseRequest

from coordinator.access.permissions import Permission, Principal, changes, looks
from coordinator.api.fields import INT64_MAX, count, fold, parse_object, text
from coordinator.api.http_answer import Answer, Answers, content_of
from coordinator.api.http_calls import HttpCall
from coordinator.api.http_request import query_parameters, read_body
from coordinator.api.listing import integer, page_size, position
from coordinator.api.operate_calls import NEEDS, OPERATE, action_named
from coordinator.api.render_bulk import WAITING, BulkRenderer
from coordinator.api.room import Room
from coordinator.api.turns import LISTS_AT_ONCE, QUERIES_AT_ONCE, Handler, Turns
from coordinator.errors import Invalid
from coordinator.explain.actions import Action
from coordinator.service.bulk import Asker, Bulk
from coordinator.service.bulk_plan import ACTIONS, RATE_DEFAULT, Unconfirmed, Wish
from coordinator.store.bulk_rows import ItemResult, Job
from coordinator.store.search import LIMIT_MAX

BULK: Final = f"{OPERATE}bulk"
_ONE: Final = f"{BULK}/{{id}}"
_NEW_FIELDS: Final = frozenset({"filter", "reason", "id_max", "rate", "confirm"})
_MOVE_FIELDS: Final = frozenset({"reason", "confirm"})
_RESULTS: Final = (WAITING, *(result.value for result in ItemResult))
_DIGITS_MAX: Final = 18

Moves = Callable[[int, Asker, str, int], Awaitable[Job]]


class BulkCalls:
    """Decodes requests, asks the service, encodes its answers."""

    def __init__(
        self, bulk: Bulk, answers: Answers, *, zone: tzinfo | None, body_bytes_max: int, room: Room
    ) -> None:
        """See HttpApi."""
        self._bulk = bulk
        self._answers = answers
        self._render = BulkRenderer(zone)
        self._read = partial(read_body, bytes_max=body_bytes_max, room=room)

    def all(self) -> Sequence[HttpCall]:
        """Every call there is. Of a job that runs, more is asked only by who may do what it does."""
        plans, lists, queries = Turns(1), Turns(LISTS_AT_ONCE), Turns(QUERIES_AT_ONCE)
        read, moves = looks(Permission.READ), changes(Permission.OPERATE, Permission.OPERATE_FORCE)
        bulk = self._bulk
        verbs: Mapping[str, Moves] = {
            "pause": lambda job_id, by, reason, _: bulk.pause(job_id, by, reason),
            "resume": lambda job_id, by, reason, _: bulk.resume(job_id, by, reason),
            "cancel": lambda job_id, by, reason, _: bulk.cancel(job_id, by, reason),
            "again": lambda job_id, by, reason, confirm: bulk.again(
                job_id, by, reason=reason, confirm=confirm
            ),
        }
        return (
            HttpCall("GET", BULK, read, lists.of(self._list), "operate bulk"),
            HttpCall("GET", f"{BULK}/preview", read, plans.of(self._preview), "operate bulk preview"),
            HttpCall("GET", _ONE, read, queries.of(self._show), "operate bulk job"),
            HttpCall("GET", f"{_ONE}/items", read, lists.of(self._items), "operate bulk items"),
            *(
                HttpCall(
                    *("POST", f"{BULK}/{action}", changes(NEEDS[action])),
                    plans.of(self._make_call(action)),
                    f"operate bulk {action}",
                )
                for action in ACTIONS
            ),
            *(
                HttpCall("POST", f"{_ONE}/{verb}", moves, self._move_call(move), f"operate bulk {verb}")
                for verb, move in verbs.items()
            ),
        )

    async def _list(self, request: BaseRequest, _: Principal) -> Answer:
        given = query_parameters(request)
        limit = min(page_size(given), LIMIT_MAX)
        jobs = await self._bulk.jobs(
            limit=limit + 1, before_id=position({"position": given.get("after", "")})
        )
        after = str(jobs[limit - 1].id) if len(jobs) > limit else ""
        return self._json(request, {"jobs": [self._render.job(it) for it in jobs[:limit]], "after": after})

    async def _preview(self, request: BaseRequest, who: Principal) -> Answer:
        given = query_parameters(request)
        wish = Wish(action_named(given.get("action", "")), given.get("filter", ""), _id_max(given))
        plan = await self._bulk.plan(wish, Asker(who, request.remote or ""))
        return self._json(request, self._render.plan(plan))

    async def _show(self, request: BaseRequest, _: Principal) -> Answer:
        return self._json(request, self._render.job(await self._bulk.show(_job_id(request))))

    async def _items(self, request: BaseRequest, _: Principal) -> Answer:
        given = query_parameters(request)
        limit = min(page_size(given), LIMIT_MAX)
        items = await self._bulk.items(
            _job_id(request),
            results=results_named(given.get("result", "")),
            after=position({"position": given.get("after", "")}) or 0,
            limit=limit + 1,
        )
        after = str(items[limit - 1].number) if len(items) > limit else ""
        return self._json(request, {"items": [self._render.item(it) for it in items[:limit]], "after": after})

    def _make_call(self, action: Action) -> Handler:
        async def answer(request: BaseRequest, who: Principal) -> Answer:
            document = fold(parse_object(await self._read(request) or b"{}"), _NEW_FIELDS)
            wish = Wish(
                action,
                text(document, "filter"),
                count(document, "id_max"),
                text(document, "reason"),
                RATE_DEFAULT if document.get("rate") is None else count(document, "rate"),
                count(document, "confirm"),
            )
            by = Asker(who, request.remote or "")
            return await self._made(request, self._bulk.make(wish, by, needs=NEEDS[action].value))

        return answer

    def _move_call(self, move: Moves) -> Handler:
        async def answer(request: BaseRequest, who: Principal) -> Answer:
            document = fold(parse_object(await self._read(request) or b"{}"), _MOVE_FIELDS)
            by, reason = Asker(who, request.remote or ""), text(document, "reason")
            return await self._made(request, move(_job_id(request), by, reason, count(document, "confirm")))

        return answer

    async def _made(self, request: BaseRequest, job: Awaitable[Job]) -> Answer:
        try:
            made = await job
        except Unconfirmed as error:
            body = {**content_of(error), "plan": self._render.plan(error.plan)}
            return self._json(request, body, error.http_status)
        return self._json(request, {"dtm_result": "SUCCESS", "job": self._render.job(made)})

    def _json(self, request: BaseRequest, content: Mapping[str, Any], status: int = 200) -> Answer:
        return self._answers.make(request, orjson.dumps(content), status)


def results_named(names: str) -> frozenset[str]:
    """The results that a list of names with commas means; none for none. Raises Invalid."""
    wanted = frozenset(filter(None, names.split(",")))
    if unknown := sorted(wanted.difference(_RESULTS)):
        raise Invalid(f"result: must be of {', '.join(_RESULTS)}, not {unknown[0][:40]!r}")
    return frozenset("" if name == WAITING else name for name in wanted)


def _job_id(request: BaseRequest) -> int:
    number = request.rel_url.raw_path.removeprefix(f"{BULK}/").partition("/")[0]
    if not (number.isascii() and number.isdecimal() and len(number) <= _DIGITS_MAX):
        raise Invalid(f"id: must be the number of a bulk job, not {number[:40]!r}")
    return int(number)


def _id_max(given: Mapping[str, str]) -> int:
    value = integer(given, "id_max") or 0
    if not 0 <= value <= INT64_MAX:
        raise Invalid(f"id_max: must be from 0 to {INT64_MAX}, but is {value}")
    return value
