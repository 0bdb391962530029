"""Run the user service."""

import sys

from branches.rpc_service import run_rpc_service
from branches.running import main
from branches.settings import RpcSettings
from branches.user.service import UserService


async def run(settings: RpcSettings) -> None:
    """Serve until SIGTERM."""
    seconds = settings.timeout / 1000
    await run_rpc_service(settings, "user", lambda database: UserService(database, seconds=seconds))


if __name__ == "__main__":
    sys.exit(main("user", RpcSettings, run, sys.argv[1:]))
