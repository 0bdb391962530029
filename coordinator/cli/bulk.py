"""`dtm bulk`: one action asked of many transactions, as a job that goes on without this command."""

import sys
import time
from datetime import datetime
from typing import Any, Final

import click

from coordinator.cli.asking import OPERATE, Asking, asks
from coordinator.cli.exits import Ended, Exit
from coordinator.cli.terminal import AMBER, GREEN, RED, clock, progress, progress_over, safe, say, table

BULK: Final = f"{OPERATE}/bulk"
_CONFIRMED_ABOVE: Final = 100
_PAGE: Final = 500
_POLL_SECONDS: Final = 0.5
_POLL_SECONDS_MAX: Final = 5.0
_FINAL: Final = ("done", "cancelled")
_RESULTS: Final = ("done", "not_eligible", "refused", "failed", "waiting")
_HEADS: Final = ("id", "state", "action", "of", "done", "not eligible", "refused", "failed", "made", "filter")


@click.group("bulk")
def bulk_command() -> None:
    """Ask one action of many transactions; look at such jobs, pause, resume, cancel them."""


def _begins(command: Any) -> Any:
    for option in (
        click.option("--reason", default="", metavar="TEXT", help="Why; stands in the audit."),
        click.option("--dry-run", is_flag=True, help="Say what it would be about, and do nothing."),
        click.option(
            *("--rate", "rate"),
            type=click.IntRange(1, 1000),
            default=50,
            show_default=True,
            help="Transactions a second.",
        ),
        click.option(
            *("--confirm", "confirm"),
            type=click.IntRange(1),
            metavar="COUNT",
            help="How many they are, as the dry run says; needed above 100 where nobody can be asked.",
        ),
        click.option("--detach", is_flag=True, help="Do not wait until it is done."),
    ):
        command = option(command)
    return click.argument("words", nargs=-1, required=True, metavar="FILTER...")(command)


_yes = click.option("--yes", is_flag=True, help="Do not ask, do it.")


@bulk_command.command("retry")
@_begins
@asks
def retry(asking: Asking, words: tuple[str, ...], **asked: Any) -> None:
    """Bring the next round of all that FILTER finds forward: due now."""
    _begin(asking, "retry", words, is_asked_for=True, **asked)


@bulk_command.command("rollback")
@_begins
@_yes
@asks
def rollback(asking: Asking, words: tuple[str, ...], yes: bool, **asked: Any) -> None:
    """Roll all that FILTER finds back."""
    _begin(asking, "rollback", words, is_asked_for=yes, **asked)


@bulk_command.command("stop")
@_begins
@_yes
@asks
def stop(asking: Asking, words: tuple[str, ...], yes: bool, **asked: Any) -> None:
    """Stop all that FILTER finds for good. To stop a job: dtm bulk cancel."""
    _begin(asking, "stop", words, is_asked_for=yes, **asked)


@bulk_command.command("list")
@click.option(
    "--limit", type=click.IntRange(1, _PAGE), default=20, show_default=True, help="How many at most."
)
@asks
def list_jobs(asking: Asking, limit: int) -> None:
    """List the jobs, the newest first."""
    jobs = asking.coordinator.get(BULK, limit=str(limit))["jobs"]
    if not asking.told(jobs):
        table(_HEADS, [_line(it) for it in jobs])


@bulk_command.command("show")
@click.argument("job_id", type=click.IntRange(1), metavar="ID")
@click.option(
    *("--result", "results"),
    multiple=True,
    type=click.Choice(_RESULTS),
    help="List the transactions of which that is so; more than once for more.",
)
@asks
def show(asking: Asking, job_id: int, results: tuple[str, ...]) -> None:
    """Say how far a job has come, and how it went with each."""
    job = asking.coordinator.get(f"{BULK}/{job_id}")
    items = _items(asking, job_id, results) if results else []
    if asking.told({**job, "items": items} if results else job):
        return
    _draw(job)
    if items:
        say()
        table(("gid", "result", "why"), [(safe(it["gid"]), it["result"], safe(it["said"])) for it in items])


@bulk_command.command("watch")
@click.argument("job_id", type=click.IntRange(1), metavar="ID")
@asks
def watch(asking: Asking, job_id: int) -> None:
    """Wait until a job has ended."""
    raise SystemExit(_watch(asking, job_id))


def _move(verb: str, explanation: str) -> None:
    @bulk_command.command(verb, help=explanation)
    @click.argument("job_id", type=click.IntRange(1), metavar="ID")
    @click.option("--reason", default="", metavar="TEXT", help="Why; stands in the audit.")
    @asks
    def move(asking: Asking, job_id: int, reason: str) -> None:
        job = asking.coordinator.post(f"{BULK}/{job_id}/{verb}", {"reason": reason})["job"]
        if not asking.told(job):
            _draw(job)


_move("pause", "Let a job rest.")
_move("resume", "Let a job that rests go on.")
_move("cancel", "End a job; what is left of its transactions is left alone.")


@bulk_command.command("again")
@click.argument("job_id", type=click.IntRange(1), metavar="ID")
@click.option("--reason", default="", metavar="TEXT", help="Why; that of the first job where it is left out.")
@click.option("--confirm", type=click.IntRange(1), metavar="COUNT", help="How many they are, above 100.")
@click.option("--detach", is_flag=True, help="Do not wait until it is done.")
@asks
def again(asking: Asking, job_id: int, reason: str, confirm: int | None, detach: bool) -> None:
    """Make a new job of what failed in one that has ended."""
    _post(asking, f"{job_id}/again", {"reason": reason, "confirm": confirm}, detach=detach)


def _begin(
    asking: Asking,
    action: str,
    words: tuple[str, ...],
    *,
    is_asked_for: bool,
    reason: str,
    dry_run: bool,
    rate: int,
    confirm: int | None,
    detach: bool,
) -> None:
    """Show what it would be about, have its number confirmed, make the job, wait for it."""
    is_asked = is_somebody_there() and not asking.is_for_programs
    if not (dry_run or is_asked or (is_asked_for and reason)):
        needed = "--reason" if action == "retry" else "--yes and --reason"
        raise click.UsageError(f"Nobody can be asked here: give {needed}. See it first: --dry-run")
    plan = asking.coordinator.get(f"{BULK}/preview", action=action, filter=" ".join(words))
    if dry_run:
        if not asking.told(plan):
            _draw_plan(plan)
        return
    if is_asked:
        _draw_plan(plan)
        reason = reason or click.prompt("Why")
        confirm = confirm or _confirmed(action, plan["count"], is_asked_for)
    body = {"filter": plan["filter"], "reason": reason, "id_max": plan["id_max"], "rate": rate}
    _post(asking, action, {**body, "confirm": confirm}, detach=detach)


def is_somebody_there() -> bool:
    """Whether there is a person to be asked."""
    return sys.stdin.isatty()


def _confirmed(action: str, count: int, is_asked_for: bool) -> int:
    """The number that was typed. Raises Ended where it is another."""
    if count > _CONFIRMED_ABOVE:
        typed = click.prompt(f"{action.capitalize()} them? Type how many they are", type=int)
        if typed != count:
            raise Ended(Exit.NOT_WELL, f"nothing was done: they are {count}, not {typed}")
    elif not is_asked_for and not click.confirm(f"{action.capitalize()} them?"):
        raise Ended(Exit.NOT_WELL, "nothing was done")
    return count


def _post(asking: Asking, path: str, body: dict[str, Any], *, detach: bool) -> None:
    given = {name: value for name, value in body.items() if value is not None}
    status, answer = asking.coordinator.post_or_conflict(f"{BULK}/{path}", given)
    if status != 200:
        if "plan" in answer and not asking.told(answer["plan"]):
            _draw_plan(answer["plan"])
        raise Ended(Exit.REFUSED, str(answer.get("message", "refused")))
    job = answer["job"]
    if not detach:
        raise SystemExit(_watch(asking, job["id"]))
    if not asking.told(job):
        say(f"It goes on by itself: dtm bulk show {job['id']}")


def _watch(asking: Asking, job_id: int) -> int:
    pause = _POLL_SECONDS
    while (job := asking.coordinator.get(f"{BULK}/{job_id}"))["state"] not in _FINAL:
        ended = job["count"] - job["waiting"]
        progress(f"bulk job {job_id} is {safe(job['state'])}: {ended} of {job['count']} …")
        time.sleep(pause)
        pause = min(pause * 1.2, _POLL_SECONDS_MAX)
    progress_over()
    if not asking.told(job):
        _draw(job)
    is_well = job["state"] == "done" and not job["failed"] and not job["refused"]
    return int(Exit.OK if is_well else Exit.NOT_WELL)


def _items(asking: Asking, job_id: int, results: tuple[str, ...]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        page = asking.coordinator.get(
            f"{BULK}/{job_id}/items", result=",".join(results), after=after, limit=str(_PAGE)
        )
        found += page["items"]
        after = page["after"]
        if not after:
            progress_over()
            return found
        progress(f"{len(found)} …")


def _draw_plan(plan: dict[str, Any]) -> None:
    count = plan["count"]
    say(f"{safe(plan['action'])} would be asked of {count} transaction{'s' if count != 1 else ''}:")
    for group in plan["groups"]:
        why = f"not eligible: {safe(group['why_not'])}" if group["why_not"] else "eligible"
        some = ", ".join(safe(gid) for gid in group["examples"])
        more = "" if group["count"] <= len(group["examples"]) else ", …"
        say(f"  {group['count']:>6}  {why}", AMBER if group["why_not"] else GREEN)
        say(f"          {some}{more}")


def _draw(job: dict[str, Any]) -> None:
    of = f", of what failed in {job['source']}" if job["source"] else ""
    say(f"bulk job {job['id']} is {safe(job['state'])}: {safe(job['action'])} of {job['count']}{of}")
    say(f"  filter   {safe(job['filter'])}")
    say(f"  asked    by {safe(job['who'])}, {clock(datetime.fromisoformat(job['made']))}")
    say(f"  why      {safe(job['reason'])}")
    say(f"  rate     {job['rate']} a second")
    if job["coordinator"]:
        say(f"  worked on by {safe(job['coordinator'])}")
    for result in _RESULTS:
        if job[result]:
            say(f"  {job[result]:>6}  {result.replace('_', ' ')}", _colour(result))


def _colour(result: str) -> str:
    return {"done": GREEN, "not_eligible": AMBER, "waiting": ""}.get(result, RED)


def _line(job: dict[str, Any]) -> tuple[str, ...]:
    counts = tuple(str(job[name]) for name in ("count", "done", "not_eligible", "refused", "failed"))
    made = clock(datetime.fromisoformat(job["made"]))
    return (str(job["id"]), safe(job["state"]), safe(job["action"]), *counts, made, safe(job["filter"])[:60])
