"""Where branch calls come in: aiohttp, ASGI, WSGI, grpclib, grpcio. Imports transport and below."""
