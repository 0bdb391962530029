"""Bulk jobs in the gRPC service `dtmcoordinator.Operate`: what /api/operate/bulk says and does."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import tzinfo
from functools import partial
from typing import Any, Final

from coordinator.access.permissions import Permission, changes, looks
from coordinator.api.bulk_calls import results_named
from coordinator.api.fields import checked_count
from coordinator.api.grpc_messages import decoded, message_class
from coordinator.api.grpc_operator import OperatorMethod
from coordinator.api.listing import page_size, position
from coordinator.api.operate_calls import NEEDS, action_named
from coordinator.api.render_bulk import BulkRenderer
from coordinator.api.turns import LISTS_AT_ONCE, Turns
from coordinator.explain.actions import Action
from coordinator.service.bulk import Asker, Bulk
from coordinator.service.bulk_plan import ACTIONS, RATE_DEFAULT, Unconfirmed, Wish
from coordinator.store.bulk_rows import Job
from coordinator.store.search import LIMIT_MAX

_PACKAGE: Final = "dtmcoordinator"


def bulk_methods(bulk: Bulk, zone: tzinfo | None) -> Sequence[OperatorMethod]:
    """Every method of it. zone: of times shown."""
    answers = _Answers(bulk, zone)
    read, moves = looks(Permission.READ), changes(Permission.OPERATE, Permission.OPERATE_FORCE)
    asked: tuple[tuple[str, str, Callable[[Any, Asker], Any]], ...] = (
        ("BulkPreview", "BulkRequest", answers.preview),
        ("BulkJobs", "BulkJobsRequest", answers.jobs),
        ("BulkShow", "BulkJobRequest", answers.show),
        ("BulkItems", "BulkItemsRequest", answers.items),
    )
    moved: tuple[tuple[str, Callable[[Any, Asker], Any]], ...] = (
        ("BulkPause", lambda it, by: bulk.pause(it.id, by, it.reason)),
        ("BulkResume", lambda it, by: bulk.resume(it.id, by, it.reason)),
        ("BulkCancel", lambda it, by: bulk.cancel(it.id, by, it.reason)),
        (
            "BulkAgain",
            lambda it, by: bulk.again(it.id, by, reason=it.reason, confirm=_count(it, "confirm")),
        ),
    )
    return (
        *(
            OperatorMethod(name, read, ask=(_reader(request), answer, bytes))
            for name, request, answer in asked
        ),
        *(
            OperatorMethod(
                f"Bulk{action.value.capitalize()}",
                changes(NEEDS[action]),
                ask=(_reader("BulkRequest"), partial(answers.make, action), bytes),
            )
            for action in ACTIONS
        ),
        *(
            OperatorMethod(name, moves, ask=(_reader("BulkJobRequest"), partial(answers.move, move), bytes))
            for name, move in moved
        ),
    )


def _reader(name: str) -> Callable[[bytes], Any]:
    kind = message_class(f"{_PACKAGE}.{name}")
    return lambda data: decoded(kind, data)


class _Answers:
    """Returns encoded replies."""

    def __init__(self, bulk: Bulk, zone: tzinfo | None) -> None:
        self._bulk = bulk
        self._render = BulkRenderer(zone)
        self._plans, self._lists = Turns(1), Turns(LISTS_AT_ONCE)

    async def preview(self, message: Any, by: Asker) -> bytes:
        """What a job would be about."""
        async with self._plans.turn():
            wish = Wish(action_named(message.action), message.filter, _count(message, "id_max"))
            return _encoded("BulkPlan", self._render.plan(await self._bulk.plan(wish, by)))

    async def make(self, action: Action, message: Any, by: Asker) -> bytes:
        """Make it, or say what it would be."""
        wish = Wish(
            action,
            message.filter,
            _count(message, "id_max"),
            message.reason,
            message.rate or RATE_DEFAULT,
            _count(message, "confirm"),
        )
        async with self._plans.turn():
            return await self._reply(self._bulk.make(wish, by, needs=NEEDS[action].value))

    async def move(self, move: Callable[[Any, Asker], Awaitable[Job]], message: Any, by: Asker) -> bytes:
        """Pause, resume, cancel, again."""
        return await self._reply(move(message, by))

    async def jobs(self, message: Any, _: Asker) -> bytes:
        """The newest first."""
        async with self._lists.turn():
            limit, before_id = _limit(message), position({"position": message.after})
            jobs = await self._bulk.jobs(limit=limit + 1, before_id=before_id)
            after = str(jobs[limit - 1].id) if len(jobs) > limit else ""
            shown = [self._render.job(it) for it in jobs[:limit]]
            return _encoded("BulkJobsReply", {"jobs": shown, "after": after})

    async def show(self, message: Any, _: Asker) -> bytes:
        """One job, as far as it has come."""
        return _encoded("BulkJob", self._render.job(await self._bulk.show(message.id)))

    async def items(self, message: Any, _: Asker) -> bytes:
        """The transactions of a job, and how it went with each."""
        async with self._lists.turn():
            limit, after = _limit(message), position({"position": message.after}) or 0
            results = results_named(message.result)
            items = await self._bulk.items(message.id, results=results, after=after, limit=limit + 1)
            next_after = str(items[limit - 1].number) if len(items) > limit else ""
            shown = [self._render.item(it) for it in items[:limit]]
            return _encoded("BulkItemsReply", {"items": shown, "after": next_after})

    async def _reply(self, made: Awaitable[Job]) -> bytes:
        try:
            job = await made
        except Unconfirmed as error:
            return _encoded("BulkReply", {"plan": self._render.plan(error.plan)})
        return _encoded("BulkReply", {"job": self._render.job(job)})


def _limit(message: Any) -> int:
    return min(page_size({"limit": str(message.limit or "")}), LIMIT_MAX)


def _count(message: Any, name: str) -> int:
    return checked_count(getattr(message, name), name)


def _encoded(name: str, content: Mapping[str, Any]) -> bytes:
    encoded: bytes = message_class(f"{_PACKAGE}.{name}")(**content).SerializeToString()
    return encoded
