"""`python -m examples.shop`: the shop, until it is told to stop."""

import os

from aiohttp import web

from examples.shop.application import shop
from examples.shop.settings import settings_from

settings = settings_from(os.environ)
web.run_app(shop(settings), host=settings.host, port=settings.port)
