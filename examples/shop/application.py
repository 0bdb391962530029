"""The four services in one program; nothing but their urls ties them together."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime

from aiohttp import web

from coordinator.client import Dtm, Workflows
from examples.shop import mail, orders, payment, stock
from examples.shop.database import Database
from examples.shop.follow_up import follow_up
from examples.shop.settings import Settings, utc_now


def shop(settings: Settings, now: Callable[[], datetime] = utc_now) -> web.Application:
    """Return the application; its tables are made and its connection opened when it starts.

    now: the clock by which workflows sleep.
    """
    schemas = {"stock": stock.SCHEMA, "payment": payment.SCHEMA, "mail": mail.SCHEMA, "orders": orders.SCHEMA}
    files = {name: Database(settings.folder / f"{name}.db", schema) for name, schema in schemas.items()}
    steps = orders.steps_of(files["orders"])
    opened: AbstractAsyncContextManager[object]
    if settings.has_coordinator_inside:
        from coordinator.embedded import Coordinator

        opened = coordinator = Coordinator.embedded(settings.dtm_url, functions=steps, workflows=[follow_up])
        dtm, workflows, own = coordinator.client, coordinator.workflows, "local://"
    else:
        opened = dtm = Dtm(settings.dtm_url)
        workflows = Workflows(dtm, [follow_up], callback=f"{settings.url}/orders/workflow", now=now)
        own = f"{settings.url}/orders/branch/"

    async def running(_: web.Application) -> AsyncIterator[None]:
        for database in files.values():
            await database.create()
        async with opened:
            yield

    application = web.Application()
    application.cleanup_ctx.append(running)
    application.add_subapp("/stock/", stock.stock_service(files["stock"]))
    application.add_subapp("/payment/", payment.payment_service(files["payment"]))
    application.add_subapp("/mail/", mail.mail_service(files["mail"]))
    of_orders = orders.orders_service(files["orders"], steps, dtm, workflows, settings.url, own)
    application.add_subapp("/orders/", of_orders)
    return application
