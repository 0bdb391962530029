"""One transaction drawn in a terminal: its steps, what undoes them, why it waits, what comes next."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from coordinator.cli.drawn_workflow import draw_workflow
from coordinator.cli.terminal import AMBER, GREEN, MARKS, RED, VIOLET, age, clock, safe, say

Json = Mapping[str, Any]

_UNDO: Final = frozenset({"compensate", "cancel", "rollback"})
_LEFT: Final = frozenset(
    {"stays", "may_stay", "held", "in_doubt"}
)  # fates that leave something to be done by hand
_NAME_MAX: Final = 20
_ATTEMPTS_SHOWN: Final = 3
_ANSWER_MAX: Final = 60


def draw(answer: Json, now: datetime) -> None:
    """Draw the answer about one transaction."""
    transaction, why = answer["transaction"], answer["why"]
    created = datetime.fromisoformat(transaction["create_time"])
    head = f"{safe(transaction['gid'])}  {safe(transaction['trans_type'])}  {safe(transaction['status'])}"
    say(f"{head}  {age(created, now)} old, since {clock(created)}")
    say(f"{why['code']}  {safe(why['sentence'])}", AMBER if why["is_trouble"] else "")
    say()
    branches = answer["branches"] or ()
    steps = _Steps(answer)
    if transaction["trans_type"] == "workflow":
        draw_workflow(branches, answer["why"])
        steps.draw_without_rows(branches)
        say()
        _draw_end(answer)
        return
    for branch in branches:
        if branch["op"] not in _UNDO:
            steps.draw(branch)
    back = [branch for branch in reversed(branches) if branch["op"] in _UNDO]
    if back and transaction["status"] in ("aborting", "failed"):
        say(f"  ── undone {'─' * 50}")
        for branch in back:
            steps.draw(branch)
    steps.draw_without_rows(branches)
    if answer.get("effects"):
        say()
        draw_effects(answer["effects"])
    say()
    _draw_end(answer)


class _Steps:
    """What is known of each branch beside its row."""

    def __init__(self, answer: Json) -> None:
        coming = answer["forecast"]["if_all_succeed"]
        self._coming = {(call["branch_id"], call["op"]): call for call in reversed(coming["calls"])}
        self._results = {it["branch_id"]: it for it in answer.get("results") or ()}
        self._attempts: dict[tuple[str, str], list[Json]] = {}
        for attempt in sorted(answer["attempts"], key=lambda it: it["number"]):
            self._attempts.setdefault((attempt["branch_id"], attempt["op"]), []).append(attempt)

    def draw(self, branch: Json) -> None:
        """One line of one row."""
        key = (branch["branch_id"], branch["op"])
        is_undo = branch["op"] in _UNDO
        tried = _tried(self._attempts.get(key, ()))
        if branch["status"] == "succeed":
            mark, colour = MARKS["undone" if is_undo else "done"], VIOLET if is_undo else GREEN
            said = f"done{'' if is_undo else self._result(branch['branch_id'])}"
        elif branch["status"] == "failed":
            mark, said, colour = MARKS["refused"], f"{tried or 'refused'} → roll back", RED
        elif key in self._coming:
            mark, said, colour = MARKS["forecast"], tried or "will be called", RED if tried else AMBER
        else:
            mark, said, colour = MARKS["none"], tried or ("not called" if is_undo else "not started"), ""
        say(f"{step(*key, branch.get('url', ''))}  {mark} {said}", colour)

    def _result(self, branch_id: str) -> str:
        """`, answered {"id": 7}`, of a step that keeps its result."""
        if (kept := self._results.get(branch_id)) is None:
            return ""
        if kept["text"] is None and kept["base64"] is None:
            return ", its result is kept"
        text = " ".join((kept["text"] if kept["text"] is not None else f"{kept['base64']} (base64)").split())
        return f", answered {safe(text if len(text) <= _ANSWER_MAX else f'{text[: _ANSWER_MAX - 1]}…')}"

    def draw_without_rows(self, branches: Sequence[Json]) -> None:
        """A message's question, a workflow's call back."""
        stored = {(branch["branch_id"], branch["op"]) for branch in branches}
        for key, call in self._coming.items():
            if key not in stored:
                said = _tried(self._attempts.get(key, ())) or "will be asked"
                say(f"{step(*key, call['url'])}  {MARKS['forecast']} {said}", AMBER)


def _tried(attempts: Sequence[Json]) -> str:
    """`503 ×28 · refused ×29 since 00:10`: the latest attempts, equal ones as one."""
    shown = [f"{_answered(it)} ×{it['times']}" for it in attempts[-_ATTEMPTS_SHOWN:]]
    if not shown:
        return ""
    return f"{' · '.join(shown)} since {clock(datetime.fromisoformat(attempts[-1]['began']))}"


def _answered(attempt: Json) -> str:
    """What it said, in a word or two."""
    kind = "ONGOING" if attempt["kind"] == "ongoing" else attempt["kind"]
    what = kind if attempt["status"] is None or attempt["kind"] == "ongoing" else attempt["status"]
    said = " ".join(str(attempt["answer"]).split())
    return (
        f"{safe(what)} {safe(said[:_ANSWER_MAX])}".rstrip()
        if attempt["kind"] in ("status", "failure")
        else safe(what)
    )


def _draw_end(answer: Json) -> None:
    transaction, why = answer["transaction"], answer["why"]
    if reason := transaction.get("rollback_reason"):
        say(f"Rolled back because: {safe(reason)}")
    if transaction["status"] in ("succeed", "failed"):
        return
    succeeds, goes_on = answer["forecast"]["if_all_succeed"], answer["forecast"]["if_this_goes_on"]
    if succeeds["next_at"]:
        then = (
            f", then every {goes_on['repeats_seconds']} s" if goes_on and goes_on["repeats_seconds"] else ""
        )
        say(f"Next at {clock(datetime.fromisoformat(succeeds['next_at']))}{then}.")
    if succeeds["ends"]:
        say(f"If all succeeds it ends as {safe(succeeds['ends'])}.")
    if goes_on and goes_on["ends"]:
        at = clock(datetime.fromisoformat(goes_on["ends_at"]))
        say(f"If this goes on it ends as {safe(goes_on['ends'])}, about {at}.")
    say(f"What to do: {safe(why['what_to_do'])}")
    allowed = [it["action"] for it in answer["actions"] if it["is_allowed"]]
    say(f"You may: {', '.join(map(safe, allowed))}. What that would do: dtm plan {safe(transaction['gid'])}")


def draw_preview(gid: str, preview: Json) -> None:
    """Draw what an action will do."""
    say(f"{safe(preview['action'])} of {safe(gid)} would …")
    draw_effects(preview["effects"])
    calls = preview["forecast"]["calls"]
    say()
    if calls:
        first = clock(datetime.fromisoformat(calls[0]["at"]))
        say(f"Called, in this order, from {first} on, if all succeeds:")
        for number, call in enumerate(calls, start=1):
            say(f"  {number}. {safe(call['op'])} {safe(call['branch_id'])}  {safe(call['url'])}")
    else:
        say("Nothing is called.")
    if end := preview["forecast"]["ends"]:
        say(f"It ends as {safe(end)}.")
    for remark in preview["remarks"]:
        say(safe(remark))


def draw_effects(effects: Sequence[Json]) -> None:
    """Draw what becomes of each step, and what is left to be done by hand."""
    for effect in effects:
        colour = RED if effect["fate"] in _LEFT else ""
        name = f"{_name(effect['url']):<{_NAME_MAX}}"
        say(f"  {safe(effect['branch_id']):<6} {name}  {safe(effect['sentence'])}", colour)
    left = [effect["branch_id"] for effect in effects if effect["fate"] in _LEFT]
    if left:
        say(f"Left behind, to be put right by hand: {', '.join(map(safe, left))}.", RED)


def step(branch_id: str, op: str, url: str) -> str:
    """How a line about a step begins."""
    return f"  {safe(branch_id):<6} {safe(op):<10} {_name(url):<{_NAME_MAX}}"


def _name(url: str) -> str:
    """What a step is called: the end of its url's path."""
    path = url.partition("?")[0].rstrip("/").rpartition("/")[2]
    return safe(path if len(path) <= _NAME_MAX else f"{path[: _NAME_MAX - 1]}…")
