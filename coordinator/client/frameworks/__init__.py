"""Where a branch call comes in: aiohttp, ASGI, WSGI, grpclib and grpcio made to answer as branches do."""
