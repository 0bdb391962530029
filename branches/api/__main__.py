"""Run the registration API."""

import sys
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from branches.api.identifiers import UserIds
from branches.api.register import Register
from branches.running import GRACE_SECONDS, StartError, cannot_listen, main, say_ready, until_told_to_stop
from branches.settings import ApiSettings
from branches.watching import Watching
from coordinator.client import Dtm, InvalidUse


def make_application(
    dtm: Dtm, settings: ApiSettings, ids: UserIds, middlewares: Sequence[Any] = ()
) -> web.Application:
    """Return the application; `dtm` is open for as long as it serves."""
    application = web.Application(client_max_size=settings.max_bytes, middlewares=middlewares)
    application.router.add_post("/register", Register(dtm, settings, ids).handle)
    return application


async def run(settings: ApiSettings) -> None:
    """Serve until SIGTERM."""
    server, watching = settings.dtm_server, Watching(settings)
    try:
        dtm = Dtm(
            server if "://" in server else f"grpc://{server}",
            timeout=settings.timeout / 1000,
            tracer_provider=watching.provider,
        )
    except InvalidUse as error:
        raise StartError(f"DtmServer: {error}") from error
    async with until_told_to_stop() as told, watching.running(), dtm:
        application = make_application(dtm, settings, UserIds(), [watching.middleware])
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=GRACE_SECONDS)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, settings.host or None, settings.port).start()
            except OSError as error:
                raise cannot_listen(settings.host, settings.port, error) from error
            say_ready(settings, settings.host, runner.addresses[0][1], f"coordinator {dtm.url}")
            await told.wait()
        finally:
            await runner.cleanup()


if __name__ == "__main__":
    sys.exit(main("api", ApiSettings, run, sys.argv[1:]))
