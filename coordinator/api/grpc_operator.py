"""The gRPC service of this coordinator's own: looking, stopping, retrying, as over HTTP."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Final

from coordinator.access.gate import check_gid
from coordinator.access.permissions import OPEN, Needs, Permission, Principal, changes, looks
from coordinator.api.grpc_messages import Messages, message_class
from coordinator.api.listing import next_position_of
from coordinator.api.masking import page_shown_to, shown_to
from coordinator.api.render import render_all, render_query, rendered
from coordinator.api.turns import LISTS_AT_ONCE, QUERIES_AT_ONCE, Turns
from coordinator.model import OWN_FEATURES
from coordinator.service import Operators
from coordinator.store.listed import Filter

OPERATOR: Final = "dtmcoordinator.Operator"


@dataclass(frozen=True, slots=True)
class OperatorMethod:
    """call: what its message means, what is asked, and what of that is the reply.

    act: in place of that, the same of what is recorded with who asked; without the last, the reply is Empty.
    ask: the same of what is told who asked, with all that they may.
    """

    name: str
    needs: Needs
    call: tuple[Any, ...] = ()
    act: tuple[Any, ...] = ()
    ask: tuple[Any, ...] = ()


def operator_methods(
    operators: Operators, messages: Messages, *, version: str, zone: tzinfo | None
) -> Sequence[OperatorMethod]:
    """Every method of the service. zone: of times shown."""
    answers = _Answers(operators, version, zone)

    def own_gid(data: bytes, who: Principal) -> tuple[str, Principal]:
        gid = messages.gid_request(data)
        check_gid(who, gid)
        return gid, who

    def page(data: bytes, who: Principal) -> tuple[Filter, Principal]:
        return messages.list_request(data), who

    return (
        OperatorMethod("Describe", OPEN, (lambda data, _: data, answers.describe, bytes)),
        OperatorMethod("Query", looks(Permission.SUBMIT, Permission.READ), (own_gid, answers.query, bytes)),
        OperatorMethod("List", looks(Permission.READ), (page, answers.list, bytes)),
        OperatorMethod(
            "Stop", changes(Permission.OPERATE_FORCE), act=(messages.gid_request, operators.force_stop)
        ),
        OperatorMethod(
            "Retry", changes(Permission.OPERATE), act=(messages.gid_request, operators.reset_next_cron_time)
        ),
    )


class _Answers:
    """Returns encoded replies."""

    def __init__(self, operators: Operators, version: str, zone: tzinfo | None) -> None:
        self._operators = operators
        self._zone = zone
        self._lists, self._queries = Turns(LISTS_AT_ONCE), Turns(QUERIES_AT_ONCE)
        self._query_reply: Any = message_class("dtmcoordinator.QueryReply")
        self._list_reply: Any = message_class("dtmcoordinator.ListReply")
        description: Any = message_class("dtmcoordinator.Description")
        self._description: bytes = description(version=version, features=OWN_FEATURES).SerializeToString()

    async def describe(self, _: bytes) -> bytes:
        """The version, and what is known here beyond the protocol."""
        return self._description

    async def query(self, asked: tuple[str, Principal]) -> bytes:
        """The transaction and its branches; neither for an unknown gid. Raises Invalid for an empty one."""
        async with self._queries.turn():
            gid, who = asked
            stored = shown_to(who, await self._operators.query(gid))
            shown = await rendered(render_query, stored, self._zone)
            if stored is None:
                return b""
            payloads = [branch.payload for branch in stored.branches]
            reply = self._query_reply(
                transaction=shown["transaction"],
                branches=[
                    {**row, "bin_data": it} for row, it in zip(shown["branches"], payloads, strict=True)
                ],
            )
            return await asyncio.to_thread(reply.SerializeToString)

    async def list(self, asked: tuple[Filter, Principal]) -> bytes:
        """One page of transactions, newest first."""
        async with self._lists.turn():
            wanted, who = asked
            listed = await self._operators.all(wanted)
            page, next_position = page_shown_to(who, listed.rows), next_position_of(listed)
            shown: Mapping[str, Any] = render_all(page, next_position, self._zone)
            encoded: bytes = self._list_reply(**shown).SerializeToString()
            return encoded
