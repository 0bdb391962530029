"""The page about one transaction: why, when, with what, what comes next, and what may be done."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from markupsafe import Markup

from coordinator.access.gate import check_gid
from coordinator.access.permissions import Permission, looks
from coordinator.api.masking import explained_to, shown_to
from coordinator.api.operate_calls import NEEDS
from coordinator.console.equal import command_of, markdown_of, show_command
from coordinator.console.links import LinkTemplates, links_of
from coordinator.console.moments import length
from coordinator.console.page import Answering, Content, File, Page, Shown, Visit, path_to
from coordinator.console.payloads import Payload, payload_of, whole_payload
from coordinator.console.rendering import Surroundings
from coordinator.console.tried import tried_branches
from coordinator.errors import Forbidden, NotFound
from coordinator.explain.actions import Action, Allowed
from coordinator.explain.play import Rows
from coordinator.explain.preview import LEFT_BEHIND, Effect, hash_of
from coordinator.explain.sentences import Sentence
from coordinator.model import BranchKey, Transaction, TransType
from coordinator.patterns.workflow import custom_of
from coordinator.service.operate import Explained, Operate, Wish
from coordinator.service.overview import mark_of
from coordinator.timeline.layout import drawing_of
from coordinator.timeline.rows import rows_of
from coordinator.timeline.story import timeline_of
from coordinator.timeline.svg import svg_of
from coordinator.timeline.teller import Teller, name_of

BRANCHES_AT_ONCE: Final = 100  # of more, the page is made in a thread
_ROWS_MAX: Final = 200
_PAYLOADS_MAX: Final = 8
_LINES_MAX: Final = 12
_RESULT: Final = "result"  # stands where an op does: what a step answered
_WORKFLOW_DATA: Final = ("", "")  # what a workflow was begun with stands in no branch
_BYTES: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Sent:
    """A payload, and of which rows it is. key: of one of them."""

    key: BranchKey
    ops: tuple[str, ...]
    payload: Payload


@dataclass(frozen=True, slots=True)
class Offer:
    """An action. against: why not; None where it may be done. is_permitted: to who asks."""

    action: Action
    against: Sentence | None
    is_permitted: bool
    command: str


class TransactionPage:
    """Shows one, and its payloads."""

    def __init__(self, operate: Operate, around: Surroundings, links: LinkTemplates) -> None:
        self._operate = operate
        self._around = around
        self._links = links

    def all(self) -> Sequence[Page]:
        """The pages."""
        read, whole = looks(Permission.READ), looks(Permission.READ_PAYLOAD)
        return (
            Page("GET", "/transactions/{gid}", read, or_missing(self._show)),
            Page("GET", "/transactions/{gid}/payload", whole, or_missing(self._payload)),
        )

    async def _show(self, visit: Visit) -> Content:
        gid = gid_of(visit)
        explained = await self._operate.show(gid)
        stored = explained.stored
        agreed = hash_of(Rows(stored.transaction, stored.branches))  # of the rows as they are, not as shown
        shown = seen_by(visit, explained)
        if len(stored.branches) <= BRANCHES_AT_ONCE:
            values = self._values(visit, shown)
        else:
            values = await asyncio.to_thread(self._values, visit, shown)
        return Shown(
            "transaction.html", {**values, "hash": agreed, "shown_mark": mark_of(stored.transaction)}
        )

    def _values(self, visit: Visit, explained: Explained) -> Mapping[str, Any]:
        transaction = explained.stored.transaction
        teller = teller_of(visit, self._around)
        timeline = timeline_of(explained, teller)
        rows = rows_of(timeline, teller)
        sees = sees_payloads(visit)
        sent, more = _sent(explained) if sees else ([], 0)
        scheme = "https" if visit.is_encrypted else "http"
        link = f"{scheme}://{visit.host}{visit.base}{path_to('transactions', transaction.gid)}"
        return {
            "it": transaction,
            "why": explained.why,
            "succeeds": explained.succeeds,
            "goes_on": explained.goes_on,
            "timeline": Markup(svg_of(drawing_of(timeline, teller))),
            "rows": rows[-_ROWS_MAX:],
            "rows_left_out": max(len(rows) - _ROWS_MAX, 0),
            "tried": tried_branches(explained.attempts, teller),
            "sees_payloads": sees,
            "payloads": sent,
            "payloads_left_out": more,
            "offers": _offers(visit, transaction, explained.actions),
            "effects": effects_of(explained.left),
            "links": links_of(self._links, transaction),
            "link": link,
            "command": show_command(transaction.gid),
            "markdown": markdown_of(explained, rows[-_ROWS_MAX:], link, teller, visit.words.language),
        }

    async def _payload(self, visit: Visit) -> Content:
        gid = gid_of(visit)
        if not sees_payloads(visit):
            raise Forbidden(f"{visit.who.name} may not see payloads: that needs {Permission.READ_PAYLOAD}")
        key = (visit.query.get("branch_id", ""), visit.query.get("op", ""))
        content = _content(seen_by(visit, await self._operate.show(gid)), key)
        if content is None:
            raise NotFound(f"{gid} has no branch {key[0]} {key[1]}")
        if visit.query.get("as") == "file":
            return File(content, _BYTES, {"Content-Disposition": 'attachment; filename="payload"'})
        payload = await asyncio.to_thread(whole_payload, content)
        return Shown("payload.html", {"gid": gid, "key": key, "payload": payload})


def or_missing(answer: Answering) -> Answering:
    """The same, with a page that says so where there is no such transaction."""

    async def found(visit: Visit) -> Content:
        try:
            return await answer(visit)
        except NotFound as error:
            values = {"heading": "error.of_404", "said": error.message, "hint": error.hint}
            return Shown("error.html", values, 404)

    return found


def gid_of(visit: Visit) -> str:
    """Which transaction it is about. Raises Forbidden for one that is not theirs."""
    gid = visit.values["gid"]
    check_gid(visit.who, gid)
    return gid


def seen_by(visit: Visit, explained: Explained) -> Explained:
    """What who asks may see of it."""
    stored = shown_to(visit.who, explained.stored)
    return explained_to(visit.who, replace(explained, stored=stored or explained.stored))


def sees_payloads(visit: Visit) -> bool:
    """Whether who asks may see payloads."""
    return visit.may(Permission.READ_PAYLOAD) or visit.may(Permission.SUBMIT)


def teller_of(visit: Visit, around: Surroundings) -> Teller:
    """Who tells in the language of the visit."""
    return Teller(
        lambda key, **values: visit.words(key, **values).unescape(), around.now(), around.zone, length
    )


def effects_of(effects: Sequence[Effect]) -> list[Mapping[str, Any]]:
    """What becomes of each step, for a list."""
    return [
        {
            "branch_id": it.branch_id,
            "name": name_of(it.url),
            "fate": it.fate.name.lower(),
            "is_left": it.fate in LEFT_BEHIND,
        }
        for it in effects
    ]


def _offers(visit: Visit, transaction: Transaction, actions: Sequence[Allowed]) -> list[Offer]:
    def command(it: Allowed) -> str:
        if it.action is Action.SKIP and not it.branches:
            return ""
        branch = it.branches[0] if it.action is Action.SKIP else ("", "")
        return command_of(transaction.gid, Wish(it.action, branch))

    return [Offer(it.action, it.against, visit.may(NEEDS[it.action]), command(it)) for it in actions]


def _sent(explained: Explained) -> tuple[list[Sent], int]:
    """The first payloads, those of one branch that are equal once; and how many more there are.

    What a step answered stands among them: it is the payload of others.
    """
    found: dict[tuple[str, bytes], list[str]] = {}
    for row in explained.stored.branches:
        if row.payload:
            found.setdefault((row.branch_id, row.payload), []).append(row.op)
    for branch_id, result in explained.results.items():
        if result:
            found.setdefault((branch_id, result), []).append(_RESULT)
    sent = [
        Sent((branch_id, ops[0]), tuple(ops), payload_of(content, lines_max=_LINES_MAX))
        for (branch_id, content), ops in islice(found.items(), _PAYLOADS_MAX)
    ]
    data = _content(explained, _WORKFLOW_DATA)
    begun_with = [Sent(_WORKFLOW_DATA, (), payload_of(data, lines_max=_LINES_MAX))] if data else []
    return begun_with + sent, max(len(found) - _PAYLOADS_MAX, 0)


def _content(explained: Explained, key: BranchKey) -> bytes | None:
    """The payload of a row, what its step answered, or what a workflow was begun with."""
    stored = explained.stored
    if key[1] == _RESULT:
        return explained.results.get(key[0])
    if key == _WORKFLOW_DATA and stored.transaction.trans_type == TransType.WORKFLOW:
        try:
            return custom_of(stored.transaction.custom_data).data
        except ValueError:  # another program wrote it, or it is hidden
            return None
    return next((row.payload for row in stored.branches if row.key == key), None)
