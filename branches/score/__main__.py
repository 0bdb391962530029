"""Run the score service."""

import sys

from branches.rpc_service import run_rpc_service
from branches.running import main
from branches.score.service import UserScoreService
from branches.settings import ScoreSettings


async def run(settings: ScoreSettings) -> None:
    """Serve until SIGTERM."""
    limit, seconds = settings.score_limit, settings.timeout / 1000
    await run_rpc_service(
        settings, "user_score", lambda database: UserScoreService(database, limit=limit, seconds=seconds)
    )


if __name__ == "__main__":
    sys.exit(main("score", ScoreSettings, run, sys.argv[1:]))
