"""`dtm plan`, `retry`, `rollback`, `stop`, `skip`: what an action would do, and doing just that."""

import sys
from typing import Any, Final

import click

from coordinator.cli.asking import Asking, asks, of_gid
from coordinator.cli.drawn import draw_preview
from coordinator.cli.exits import Ended, Exit
from coordinator.cli.gids import gid_argument
from coordinator.cli.terminal import progress, progress_over, safe, say
from coordinator.explain.actions import Action, SkipReason

_REASONS: Final = {"outside": SkipReason.HAPPENED_OUTSIDE, "never": SkipReason.MUST_NOT_HAPPEN}


def _because(command: Any) -> Any:
    command = click.option("--reason", default="", metavar="TEXT", help="Why; stands in the audit.")(command)
    return click.option("--yes", is_flag=True, help="Do not ask, do it.")(command)


def _skip_reason(command: Any) -> Any:
    command = click.option(
        "--it-happened-outside",
        "because",
        flag_value="outside",
        help="Somebody did by hand what the call would do: undone like any other, should it be rolled back.",
    )(command)
    return click.option(
        "--must-not-happen", "because", flag_value="never", help="Nobody did it, and nobody is to undo it."
    )(command)


@click.command("plan")
@gid_argument()
@click.option("--retry", "action", flag_value=Action.RETRY.value, help="If it were retried now.")
@click.option("--rollback", "action", flag_value=Action.ROLLBACK.value, help="If it were rolled back.")
@click.option("--stop", "action", flag_value=Action.STOP.value, help="If it were stopped for good.")
@click.option("--skip", "branch_id", metavar="BRANCH", help="If that branch, such as 02, were skipped.")
@_skip_reason
@asks
def plan_command(
    asking: Asking, gid: str, action: str | None, branch_id: str | None, because: str | None
) -> None:
    """Say what an action would do, without doing it: who is called, in which order, what stays behind."""
    if bool(action) is bool(branch_id):
        raise click.UsageError("Say which: --retry, --rollback, --stop or --skip BRANCH.")
    wish = _skipping(asking, gid, branch_id, because or "outside") if branch_id else {}
    preview = _preview(asking, gid, Action(action or Action.SKIP), wish)
    if not asking.told(preview):
        draw_preview(gid, preview)


@click.command("retry")
@gid_argument("gids", nargs=-1, required=True, metavar="GID...")
@click.option("--reason", default="", metavar="TEXT", help="Stands in the audit.")
@asks
def retry_command(asking: Asking, gids: tuple[str, ...], reason: str) -> None:
    """Bring the next round of transactions forward: due now."""
    for number, gid in enumerate(gids, start=1):
        progress(f"{number} of {len(gids)} …")
        status, answer = _post(asking, gid, Action.RETRY, {"reason": reason})
        if status != 200:
            raise Ended(Exit.REFUSED, f"{gid} moves all the time: look at it with dtm watch {gid}")
        progress_over()
        if not asking.told(answer["preview"]):
            say(f"{safe(gid)} is due now: dtm watch {safe(gid)}")


@click.command("rollback")
@gid_argument()
@_because
@asks
def rollback_command(asking: Asking, gid: str, reason: str, yes: bool) -> None:
    """Roll a transaction back: all that may have been done is undone."""
    _act(asking, gid, Action.ROLLBACK, {}, reason, yes)


@click.command("stop")
@gid_argument()
@_because
@asks
def stop_command(asking: Asking, gid: str, reason: str, yes: bool) -> None:
    """Stop a transaction for good: `failed`, nothing more is called. What it did stays."""
    _act(asking, gid, Action.STOP, {}, reason, yes)


@click.command("skip")
@gid_argument()
@click.argument("branch_id", metavar="BRANCH")
@_skip_reason
@_because
@asks
def skip_command(
    asking: Asking, gid: str, branch_id: str, because: str | None, reason: str, yes: bool
) -> None:
    """Go on without calling BRANCH, such as 02, as if it had succeeded."""
    if because is None:
        raise click.UsageError("Say why it is not to be called: --it-happened-outside or --must-not-happen.")
    _act(asking, gid, Action.SKIP, _skipping(asking, gid, branch_id, because), reason, yes)


def _act(asking: Asking, gid: str, action: Action, wish: dict[str, str], reason: str, yes: bool) -> None:
    """Show what it would do, ask, and do it, unless the rows have moved meanwhile."""
    is_asked = sys.stdin.isatty() and not asking.is_for_programs
    if not is_asked and not (yes and reason):
        raise click.UsageError(
            f"Nobody can be asked here: give --yes and --reason. See it first: dtm plan {gid}"
        )
    preview = _preview(asking, gid, action, wish)
    if is_asked:
        draw_preview(gid, preview)
        reason = reason or click.prompt("Why")
        if not yes and not click.confirm(f"{action.capitalize()} it?"):
            raise Ended(Exit.NOT_WELL, "nothing was done")
    status, answer = _post(asking, gid, action, {**wish, "hash": preview["hash"], "reason": reason})
    if status != 200:
        if not asking.told(answer["preview"]):
            draw_preview(gid, answer["preview"])
        raise Ended(Exit.REFUSED, f"nothing was done: {gid} has moved meanwhile. Look at this, and ask again")
    if not asking.told(answer["preview"]):
        say(f"Done: dtm show {safe(gid)}")


def _preview(asking: Asking, gid: str, action: Action, wish: dict[str, str]) -> dict[str, Any]:
    preview = asking.coordinator.get(f"{of_gid(gid)}/preview", action=action.value, **wish)
    assert isinstance(preview, dict)
    return preview


def _post(asking: Asking, gid: str, action: Action, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """200, or 409 with a new preview. Raises Ended for all else."""
    status, answer = asking.coordinator.post_or_conflict(f"{of_gid(gid)}/{action}", body)
    if status != 200 and "preview" not in answer:
        raise Ended(Exit.REFUSED, str(answer.get("message", "refused")))
    return status, answer


def _skipping(asking: Asking, gid: str, branch_id: str, because: str) -> dict[str, str]:
    """Which row is meant, and why. Raises Ended where that branch is not called next."""
    actions = asking.coordinator.get(of_gid(gid))["actions"]
    skip = next(it for it in actions if it["action"] == Action.SKIP)
    if not skip["is_allowed"]:
        raise Ended(Exit.REFUSED, f"no branch of {gid} can be skipped: {skip['why_not']}")
    ops = [it["op"] for it in skip["branches"] if it["branch_id"] == branch_id]
    if not ops:
        known = ", ".join(f"{it['branch_id']} ({it['op']})" for it in skip["branches"])
        raise Ended(Exit.REFUSED, f"branch {branch_id} of {gid} will not be called; that will be: {known}")
    return {"branch_id": branch_id, "op": ops[0], "skip_reason": _REASONS[because].value}
