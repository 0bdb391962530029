"""A branch that says 200 to everything and prints what it was asked: for trying calls by hand, with curl."""

import os

from aiohttp import web

HOST, PORT = os.environ.get("BRANCH_HOST", "127.0.0.1"), int(os.environ.get("BRANCH_PORT", "8000"))


async def answer(request: web.Request) -> web.Response:
    query = request.query
    print(f"branch: {query.get('op', '?'):<10} {request.path} {await request.text()}", flush=True)
    return web.json_response({"id": f"{query.get('gid')}-{query.get('branch_id')}"})


if __name__ == "__main__":
    branch = web.Application()
    branch.router.add_route("*", "/{path:.*}", answer)
    web.run_app(branch, host=HOST, port=PORT, print=None)
