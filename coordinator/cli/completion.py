"""`dtm completion`: what a shell must be told to complete dtm's words."""

import click
from click.shell_completion import get_completion_class

_ADVICE = {
    "bash": '# in ~/.bashrc: eval "$(dtm completion bash)"',
    "zsh": '# in ~/.zshrc, after compinit: eval "$(dtm completion zsh)"',
    "fish": "# dtm completion fish > ~/.config/fish/completions/dtm.fish",
}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(_ADVICE)))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete the words of dtm: bash, zsh or fish.

    A GID too, with what is unfinished at the coordinator that DTM_URL or the profile names.
    """
    made = get_completion_class(shell)
    assert made is not None
    source = made(context.find_root().command, {}, "dtm", "_DTM_COMPLETE")
    click.echo(_ADVICE[shell])
    click.echo(source.source_template % source.source_vars())
