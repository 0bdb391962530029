"""Subcommands that are read only when they are meant: each brings libraries that the others do not need."""

from importlib import import_module
from typing import Final

import click

# By the name that is typed; where it is defined.
ASKING: Final = {
    "ls": "transactions:list_command",
    "show": "transactions:show_command",
    "why": "transactions:why_command",
    "watch": "transactions:watch_command",
    "submit": "transactions:submit_command",
    "plan": "actions:plan_command",
    "retry": "actions:retry_command",
    "rollback": "actions:rollback_command",
    "stop": "actions:stop_command",
    "skip": "actions:skip_command",
    "bulk": "bulk:bulk_command",
    "inbox": "fleet:inbox_command",
    "nodes": "fleet:nodes_command",
    "audit": "fleet:audit_command",
    "top": "fleet:top_command",
    "topics": "topics:topics_command",
    "endpoints": "endpoints:endpoints_command",
    "hold": "endpoints:hold_command",
    "release": "endpoints:release_command",
    "doctor": "doctor:doctor_command",
    "user": "users:user_command",
    "dev": "dev:dev_command",
    "completion": "completion:completion_command",
    "migrate": "migrating:migrate_command",
    "purge": "purging:purge_command",
    "purge-barrier": "purging_barriers:purge_barrier_command",
}


class LazyGroup(click.Group):
    """A group that has those commands beside its own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name."""
        return sorted({*super().list_commands(ctx), *ASKING})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, None where there is none."""
        where = ASKING.get(cmd_name)
        if where is None:
            return super().get_command(ctx, cmd_name)
        module, _, name = where.partition(":")
        command = getattr(import_module(f"coordinator.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command
