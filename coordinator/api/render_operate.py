"""What operators are shown, as JSON has it: why, forecast, preview, inbox. Times are RFC 3339."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from coordinator.access.permissions import Principal
from coordinator.api.masking import explained_to, shown_to
from coordinator.api.render import render_query, rendered, shown_time
from coordinator.api.render_results import render_result
from coordinator.attempt import Attempt, Stuck
from coordinator.discovery.logins import shown_url
from coordinator.explain.forecast import Forecast
from coordinator.explain.preview import Effect, Preview
from coordinator.explain.why import Why, code_of
from coordinator.model import BranchKey
from coordinator.service.operate import Explained
from coordinator.service.recorded import in_words
from coordinator.store.fleet import Roll
from coordinator.store.operate_tables import Group, Inbox
from coordinator.store.search import Found, Page

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class OperateRenderer:
    """zone: in which times are shown; None is the process's own."""

    zone: tzinfo | None

    def page(self, page: Page) -> Json:
        """One page of transactions that were looked for."""
        return {
            "transactions": [self._found(found) for found in page.found],
            "after": page.after,
            "looked_at": page.looked_at,
        }

    def _found(self, found: Found) -> Json:
        it = found.transaction
        return {
            "gid": it.gid,
            "trans_type": it.trans_type,
            "status": it.status.value,
            "create_time": self._time(it.create_time),
            "update_time": self._time(it.update_time),
            "next_cron_time": self._time(it.next_cron_time),
            "owner": it.owner,
            "rollback_reason": it.rollback_reason,
            "stuck": None if found.stuck is None else self.stuck(found.stuck),
        }

    def stuck(self, it: Stuck) -> Json:
        """What holds a transaction up."""
        return {
            "gid": it.gid,
            "branch_id": it.branch_id,
            "op": it.op,
            "endpoint": it.endpoint,
            "kind": it.kind.value,
            "code": code_of(it.kind, it.answered),
            "fingerprint": it.fingerprint,
            "error": it.error,
            "coordinator": it.coordinator,
            "since": self._time(it.since),
        }

    def inbox(self, inbox: Inbox) -> Json:
        """What is stuck, by its cause."""
        return {"groups": [self.group(group) for group in inbox.groups], "total": inbox.total}

    def group(self, it: Group) -> Json:
        """What is stuck for one cause."""
        return {
            "endpoint": it.endpoint,
            "op": it.op,
            "fingerprint": it.fingerprint,
            "count": it.count,
            "since": self._time(it.since),
            "example": self.stuck(it.example),
        }

    def nodes(self, roll: Roll) -> Json:
        """The coordinators, and who of them lives."""
        alive = roll.alive()
        nodes = [
            {
                "name": seen.node.name,
                "address": seen.node.address,
                "version": seen.node.version,
                "started": self._time(seen.started),
                "last_seen": self._time(seen.last_seen),
                "is_alive": seen in alive,
            }
            for seen in sorted(roll.seen, key=lambda seen: seen.node.name)
        ]
        return {"now": self._time(roll.now), "nodes": nodes}

    def record(self, row: Mapping[str, Any]) -> Json:
        """One record of who did what."""
        return {**row, "at": self._time(row["at"]), "what": in_words(row["action"]).told()}

    def explained(self, it: Explained) -> Json:
        """All that is said of one transaction beside its rows."""
        return {
            "attempts": [self.attempt(attempt) for attempt in it.attempts],
            "why": self._why(it.why),
            "forecast": {
                "if_all_succeed": self.forecast(it.succeeds),
                "if_this_goes_on": None if it.goes_on is None else self.forecast(it.goes_on),
            },
            "actions": [
                {
                    "action": allowed.action.value,
                    "is_allowed": not allowed.why_not,
                    "why_not": allowed.why_not,
                    "branches": [_key(key) for key in allowed.branches],
                }
                for allowed in it.actions
            ],
            "effects": [_effect(effect) for effect in it.left],
            "results": [render_result(branch_id, content) for branch_id, content in it.results.items()],
        }

    def attempt(self, it: Attempt) -> Json:
        """Calls of one branch that went the same way."""
        return {
            "branch_id": it.branch_id,
            "op": it.op,
            "number": it.number,
            "times": it.times,
            "result": it.result.value,
            "kind": it.kind.value,
            "code": code_of(it.kind, it.status),
            "status": it.status,
            "url": it.url,
            "endpoint": it.endpoint,
            "answer": it.answer,
            "fingerprint": it.fingerprint,
            "coordinator": it.coordinator,
            "began": self._time(it.began),
            "last": self._time(it.last),
            "seconds": it.seconds,
        }

    def preview(self, it: Preview) -> Json:
        """What an action will do, or has begun."""
        return {
            "action": it.action.value,
            "hash": it.hash,
            "becomes": None if it.planned.status is None else it.planned.status.value,
            "forecast": self.forecast(it.forecast),
            "effects": [_effect(effect) for effect in it.effects],
            "remarks": [remark.told() for remark in it.remarks],
        }

    def forecast(self, it: Forecast) -> Json:
        """What comes next."""
        return {
            "next_at": self._time(it.next_at),
            "calls": [
                {
                    "at": self._time(call.at),
                    "round": call.round,
                    **_key(call.branch.key),
                    "url": shown_url(call.branch.url),
                    "result": call.supposed.result.value,
                }
                for call in it.calls
            ],
            "moves": [
                {"at": self._time(move.at), "status": move.status.value, "reason": move.reason}
                for move in it.moves
            ],
            "rests": [
                {"at": self._time(rest.at), "until": self._time(rest.until), "backs_off": rest.backs_off}
                for rest in it.rests
            ],
            "ends": None if it.ends is None else it.ends.value,
            "ends_at": self._time(it.ends_at),
            "is_left_to_client": it.is_left_to_client,
            "is_cut": it.is_cut,
            "repeats_seconds": it.repeats_seconds,
            "problem": it.problem,
        }

    def _why(self, it: Why) -> Json:
        return {
            "code": it.code.id,
            "title": it.code.title,
            "sentence": it.sentence,
            "what_to_do": it.what_to_do,
            "is_trouble": it.code.is_trouble,
        }

    def _time(self, moment: datetime | None) -> str | None:
        return shown_time(moment, self.zone)


def _effect(it: Effect) -> Json:
    return {
        "branch_id": it.branch_id,
        "url": shown_url(it.url),
        "fate": it.fate.name.lower(),
        "sentence": it.fate.value,
    }


def _key(key: BranchKey) -> Json:
    return {"branch_id": key[0], "op": key[1]}


async def shown_whole(who: Principal, explained: Explained, zone: tzinfo | None) -> Json:
    """The rows as `query` shows them, and all that is said of them, as the principal may see both."""
    explained = explained_to(who, explained)
    shown = await rendered(render_query, shown_to(who, explained.stored), zone)
    return {**shown, **OperateRenderer(zone).explained(explained)}
