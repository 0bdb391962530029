"""The calls under /api/operate/: seeing why, and acting knowing what will happen, for people and scripts."""

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from functools import partial
from typing import Any, Final

import orjson
from aiohttp.web import BaseRequest

from coordinator.access.audit import Actor
from coordinator.access.gate import check_gid
from coordinator.access.permissions import Permission, Principal, changes, looks
from coordinator.api.fields import fold, parse_object, text
from coordinator.api.http_answer import Answer, Answers, content_of
from coordinator.api.http_calls import HttpCall
from coordinator.api.http_request import query_parameters, read_body
from coordinator.api.listing import page_size, position
from coordinator.api.masking import found_by, inbox_shown_to
from coordinator.api.paths import path_values
from coordinator.api.render_operate import OperateRenderer, shown_whole
from coordinator.api.room import Room
from coordinator.api.turns import LISTS_AT_ONCE, QUERIES_AT_ONCE, Handler, Turns
from coordinator.errors import Invalid
from coordinator.explain.actions import Action, SkipReason
from coordinator.service.operate import Operate, Outdated, Wish
from coordinator.store.search import LIMIT_MAX

OPERATE: Final = "/api/operate/"
TRANSACTIONS: Final = f"{OPERATE}transactions"
_ONE: Final = f"{TRANSACTIONS}/{{gid}}"
_FIELDS: Final = frozenset({"hash", "reason", "branch_id", "op", "skip_reason"})
NEEDS: Final = {
    Action.RETRY: Permission.OPERATE,
    Action.ROLLBACK: Permission.OPERATE,
    Action.SKIP: Permission.OPERATE_FORCE,
    Action.STOP: Permission.OPERATE_FORCE,
}


class OperateCalls:
    """Decodes requests, asks the service, encodes its answers."""

    def __init__(
        self, operate: Operate, answers: Answers, *, zone: tzinfo | None, body_bytes_max: int, room: Room
    ) -> None:
        """See HttpApi."""
        self._operate = operate
        self._answers = answers
        self._zone = zone
        self._render = OperateRenderer(zone)
        self._read = partial(read_body, bytes_max=body_bytes_max, room=room)

    def all(self) -> Sequence[HttpCall]:
        """Every call there is."""
        lists, queries = Turns(LISTS_AT_ONCE), Turns(QUERIES_AT_ONCE)
        read, records = looks(Permission.READ), looks(Permission.AUDIT_READ)
        return (
            HttpCall("GET", TRANSACTIONS, read, lists.of(self._search), "operate transactions"),
            HttpCall("GET", _ONE, read, queries.of(self._show), "operate transaction"),
            HttpCall("GET", f"{_ONE}/preview", read, queries.of(self._preview), "operate preview"),
            HttpCall("GET", f"{OPERATE}inbox", read, lists.of(self._inbox), "operate inbox"),
            HttpCall("GET", f"{OPERATE}nodes", read, self._nodes, "operate nodes"),
            HttpCall("GET", f"{OPERATE}audit", records, lists.of(self._audit), "operate audit"),
            *(
                HttpCall(
                    *("POST", f"{_ONE}/{action}", changes(needs)), self._act_call(action), f"operate {action}"
                )
                for action, needs in NEEDS.items()
            ),
        )

    async def _search(self, request: BaseRequest, who: Principal) -> Answer:
        given = query_parameters(request)
        page = await self._operate.search(
            given.get("filter", ""), after=given.get("after", ""), limit=min(page_size(given), LIMIT_MAX)
        )
        return self._json(request, self._render.page(found_by(who, page)))

    async def _show(self, request: BaseRequest, who: Principal) -> Answer:
        gid = _gid(request, who)
        return self._json(request, await shown_whole(who, await self._operate.show(gid), self._zone))

    async def _preview(self, request: BaseRequest, who: Principal) -> Answer:
        given = query_parameters(request)
        wish = wish_of(action_named(given.get("action", "")), given)
        return self._json(
            request, self._render.preview(await self._operate.preview(_gid(request, who), wish))
        )

    def _act_call(self, action: Action) -> Handler:
        async def answer(request: BaseRequest, who: Principal) -> Answer:
            document = fold(parse_object(await self._read(request) or b"{}"), _FIELDS)
            given = {name: text(document, name) for name in _FIELDS}
            by = Actor(who.name, who.method, request.remote or "")
            wish, gid = wish_of(action, given), _gid(request, who)
            try:
                done = await self._operate.act(gid, wish, given["hash"], by, given["reason"])
            except Outdated as error:
                body = {**content_of(error), "preview": self._render.preview(error.preview)}
                return self._json(request, body, error.http_status)
            return self._json(request, {"dtm_result": "SUCCESS", "preview": self._render.preview(done)})

        return answer

    async def _inbox(self, request: BaseRequest, who: Principal) -> Answer:
        return self._json(request, self._render.inbox(inbox_shown_to(who, await self._operate.inbox())))

    async def _nodes(self, request: BaseRequest, _: Principal) -> Answer:
        return self._json(request, self._render.nodes(await self._operate.nodes()))

    async def _audit(self, request: BaseRequest, _: Principal) -> Answer:
        given = query_parameters(request)
        limit = min(page_size(given), LIMIT_MAX)
        before_id = position({"position": given.get("after", "")})
        rows = await self._operate.audit(limit=limit + 1, before_id=before_id)
        after = str(rows[limit - 1]["id"]) if len(rows) > limit else ""
        records = [self._render.record(row) for row in rows[:limit]]
        return self._json(request, {"records": records, "after": after})

    def _json(self, request: BaseRequest, content: Mapping[str, Any], status: int = 200) -> Answer:
        return self._answers.make(request, orjson.dumps(content), status)


def wish_of(action: Action, given: Mapping[str, str]) -> Wish:
    """What is wanted, of parameters or fields. Raises Invalid."""
    branch = (given.get("branch_id", ""), given.get("op", ""))
    if action is Action.SKIP and not all(branch):
        raise Invalid("branch_id and op: say which branch is to be skipped")
    return Wish(action, branch, skip_reason_named(given.get("skip_reason", "")))


def action_named(name: str) -> Action:
    """The action of this name. Raises Invalid."""
    try:
        return Action(name)
    except ValueError:
        raise Invalid(f"action: must be one of {', '.join(Action)}, not {name[:40]!r}") from None


def skip_reason_named(words: str) -> SkipReason:
    """The reason that these words give; the first one for none. Raises Invalid."""
    try:
        return SkipReason(words.replace("_", " ").strip().lower() or SkipReason.HAPPENED_OUTSIDE.value)
    except ValueError:
        known = " or ".join(f"{reason.value!r}" for reason in SkipReason)
        raise Invalid(f"skip_reason: must be {known}, not {words[:40]!r}") from None


def _gid(request: BaseRequest, who: Principal) -> str:
    rest = request.rel_url.raw_path.removeprefix(f"{TRANSACTIONS}/")
    gid = path_values("{gid}", rest.partition("/")[0])["gid"]
    check_gid(who, gid)
    return gid
