"""The gRPC service `dtmcoordinator.Operate`: what /api/operate/ says and does, in the same words."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from functools import partial
from typing import Any, Final

from coordinator.access.audit import Actor
from coordinator.access.gate import check_gid
from coordinator.access.permissions import Permission, Principal, changes, looks
from coordinator.api.decode import clean
from coordinator.api.grpc_messages import decoded, message_class
from coordinator.api.grpc_operator import OperatorMethod
from coordinator.api.listing import page_size, position
from coordinator.api.masking import explained_to, found_by, inbox_shown_to, shown_to
from coordinator.api.operate_calls import NEEDS, action_named, wish_of
from coordinator.api.render import render_query
from coordinator.api.render_operate import OperateRenderer
from coordinator.api.turns import LISTS_AT_ONCE, QUERIES_AT_ONCE, Turns
from coordinator.explain.actions import Action
from coordinator.service.operate import Explained, Operate, Outdated
from coordinator.store.search import LIMIT_MAX

OPERATE_SERVICE: Final = "dtmcoordinator.Operate"

_PACKAGE: Final = "dtmcoordinator"
Asked = tuple[Any, Principal]


def operate_methods(operate: Operate, zone: tzinfo | None) -> Sequence[OperatorMethod]:
    """Every method of the service. zone: of times shown."""
    answers = _Answers(operate, zone)
    read = looks(Permission.READ)
    asked: tuple[tuple[str, str, Callable[[Asked], Any]], ...] = (
        ("Search", "SearchRequest", answers.search),
        ("Show", "GidRequest", answers.show),
        ("Inbox", "", answers.inbox),
        ("Nodes", "", answers.nodes),
        ("Preview", "ActRequest", answers.preview),
    )
    return (
        *(OperatorMethod(name, read, (_of(request), answer, bytes)) for name, request, answer in asked),
        OperatorMethod("Audit", looks(Permission.AUDIT_READ), (_of("AuditRequest"), answers.audit, bytes)),
        *(
            OperatorMethod(
                action.value.capitalize(),
                changes(needs),
                act=(_reader("ActRequest"), partial(answers.act, action), bytes),
            )
            for action, needs in NEEDS.items()
        ),
    )


def _reader(name: str) -> Callable[[bytes], Any]:
    kind = message_class(f"{_PACKAGE}.{name}")
    return lambda data: decoded(kind, data)


def _of(name: str) -> Callable[[bytes, Principal], Asked]:
    """What a message means, and who asks; without a name it means nothing."""
    read = _reader(name) if name else lambda _: None
    return lambda data, who: (read(data), who)


class _Answers:
    """Returns encoded replies."""

    def __init__(self, operate: Operate, zone: tzinfo | None) -> None:
        self._operate = operate
        self._zone = zone
        self._render = OperateRenderer(zone)
        self._lists, self._queries = Turns(LISTS_AT_ONCE), Turns(QUERIES_AT_ONCE)

    async def search(self, asked: Asked) -> bytes:
        """Transactions that a filter looks for."""
        message, who = asked
        async with self._lists.turn():
            page = await self._operate.search(message.filter, after=message.after, limit=_limit(message))
            return _encoded("SearchReply", self._render.page(found_by(who, page)))

    async def show(self, asked: Asked) -> bytes:
        """One transaction, with all that is said of it."""
        message, who = asked
        async with self._queries.turn():
            gid = clean(message.gid)
            check_gid(who, gid)
            explained = explained_to(who, await self._operate.show(gid))
            return await asyncio.to_thread(self._shown, who, explained)

    def _shown(self, who: Principal, explained: Explained) -> bytes:
        stored = shown_to(who, explained.stored)
        assert stored is not None, "it was found"
        shown = render_query(stored, self._zone)
        payloads = [branch.payload for branch in stored.branches]
        branches = [{**row, "bin_data": it} for row, it in zip(shown["branches"], payloads, strict=True)]
        said = self._render.explained(explained)
        return _encoded("ShowReply", {"transaction": shown["transaction"], "branches": branches, **said})

    async def inbox(self, asked: Asked) -> bytes:
        """What is stuck, by its cause."""
        async with self._lists.turn():
            inbox = inbox_shown_to(asked[1], await self._operate.inbox())
            return _encoded("InboxReply", self._render.inbox(inbox))

    async def nodes(self, _: Asked) -> bytes:
        """Who shares the store."""
        return _encoded("NodesReply", self._render.nodes(await self._operate.nodes()))

    async def audit(self, asked: Asked) -> bytes:
        """Who did what, the newest first."""
        message, _ = asked
        async with self._lists.turn():
            limit, before_id = _limit(message), position({"position": message.after})
            rows = await self._operate.audit(limit=limit + 1, before_id=before_id)
            after = str(rows[limit - 1]["id"]) if len(rows) > limit else ""
            records = [self._render.record(row) for row in rows[:limit]]
            return _encoded("AuditReply", {"records": records, "after": after})

    async def preview(self, asked: Asked) -> bytes:
        """What an action would do."""
        message, who = asked
        gid = clean(message.gid)
        check_gid(who, gid)
        wish = wish_of(action_named(message.action), _fields(message))
        return _encoded("ActionPreview", self._render.preview(await self._operate.preview(gid, wish)))

    async def act(self, action: Action, message: Any, by: Actor) -> bytes:
        """Do it, or say that the transaction has moved."""
        wish = wish_of(action, _fields(message))
        try:
            made = await self._operate.act(clean(message.gid), wish, message.hash, by, message.reason)
        except Outdated as error:
            return _encoded("ActReply", {"is_done": False, "preview": self._render.preview(error.preview)})
        return _encoded("ActReply", {"is_done": True, "preview": self._render.preview(made)})


def _limit(message: Any) -> int:
    return min(page_size({"limit": str(message.limit or "")}), LIMIT_MAX)


def _fields(message: Any) -> Mapping[str, str]:
    return {"branch_id": message.branch_id, "op": message.op, "skip_reason": message.skip_reason}


def _encoded(name: str, content: Mapping[str, Any]) -> bytes:
    encoded: bytes = message_class(f"{_PACKAGE}.{name}")(**content).SerializeToString()
    return encoded
