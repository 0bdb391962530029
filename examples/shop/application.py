"""The four services in one program; nothing but their urls ties them together."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from aiohttp import web

from coordinator.client import Dtm
from examples.shop import mail, orders, payment, stock
from examples.shop.database import Database
from examples.shop.settings import Settings


def shop(settings: Settings) -> web.Application:
    """Return the application; its tables are made and its connection opened when it starts."""
    schemas = {"stock": stock.SCHEMA, "payment": payment.SCHEMA, "mail": mail.SCHEMA, "orders": orders.SCHEMA}
    files = {name: Database(settings.folder / f"{name}.db", schema) for name, schema in schemas.items()}
    steps = orders.steps_of(files["orders"])
    opened: AbstractAsyncContextManager[object]
    if settings.has_coordinator_inside:
        from coordinator.embedded import Coordinator

        opened = coordinator = Coordinator.embedded(settings.dtm_url, functions=steps)
        dtm, own = coordinator.client, "local://"
    else:
        opened = dtm = Dtm(settings.dtm_url)
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
    application.add_subapp("/orders/", orders.orders_service(files["orders"], steps, dtm, settings.url, own))
    return application
