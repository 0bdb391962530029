"""The command `dtm`: flags, subcommands, exit codes. No rules. Imports dev, client, config and below."""

import sys
from typing import Final

EXIT_NOT_INSTALLED: Final = 2


def dtm() -> None:
    """Run the command; without a library that it needs, say how to install it and exit with 2."""
    try:
        from coordinator.cli.main import main

        main(prog_name="dtm")
    except ModuleNotFoundError as error:
        print(
            f"dtm: {error.name} is not installed. To run a coordinator:\n"
            "     pip install 'dtm-coordinator[server]'\n"
            "to ask one that runs:\n"
            "     pip install 'dtm-coordinator[cli]'",
            file=sys.stderr,
        )
        sys.exit(EXIT_NOT_INSTALLED)
