"""Branches that do nothing: nginx where it is there, else `python -m bench.branch http|grpc PORT`."""

import asyncio
import os
import sys
from pathlib import Path

import uvloop
from aiohttp import web
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream

from bench.raw import RawCodec
from tests.support import programs
from tests.support.ports import HOST, free_port, is_listening
from tests.support.processes import Process

_ROOT = Path(__file__).parents[1]
_ANSWER = '{"dtm_result":"SUCCESS"}'
_NGINX_CONF = """\
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    {server}
  }}
}}
"""
_NGINX_SERVERS = {
    "http": """listen {host}:{port};
    default_type application/json;
    location / {{ return 200 '{answer}'; }}""",
    # An empty message is five zero bytes. They stand in a file, which only GET reads: the POST is refused,
    # and what answers a refusal is asked for by GET.
    "grpc": """listen {host}:{port} http2;
    root {folder};
    default_type application/grpc;
    etag off;
    location / {{ error_page 405 =200 /empty; return 405; }}
    location = /empty {{ add_trailer grpc-status 0; }}""",
}


class BranchProcess(Process):
    """A branch on a free port that answers every call with success."""

    def __init__(self, protocol: str, folder: Path) -> None:
        """protocol: http or grpc. folder: for nginx's files."""
        self.port = free_port()
        self.address = f"{HOST}:{self.port}"
        nginx = programs.find("nginx")
        if nginx is None:
            command = [sys.executable, "-m", "bench.branch", protocol, str(self.port)]
        else:
            command = [
                nginx,
                "-p",
                str(folder),
                "-e",
                "stderr",
                "-c",
                str(self._configured(protocol, folder)),
            ]
        super().__init__(
            command,
            name="nginx" if nginx else f"{protocol} branch in Python",
            folder=_ROOT,
            ready=lambda: is_listening(self.port),
        )

    def _configured(self, protocol: str, folder: Path) -> Path:
        """Write nginx's files. As root, its worker would be somebody else and could not read them."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "empty").write_bytes(bytes(5))
        values = {"folder": folder, "host": HOST, "port": self.port, "answer": _ANSWER}
        values["user"] = "user root;" if os.geteuid() == 0 else ""
        server = _NGINX_SERVERS[protocol].format(**values)
        configuration = folder / "nginx.conf"
        configuration.write_text(_NGINX_CONF.format(server=server, **values), encoding="utf-8")
        return configuration


async def _serve_http(port: int) -> None:
    async def answer(_request: web.BaseRequest) -> web.Response:
        return web.Response(text=_ANSWER, content_type="application/json")

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    await asyncio.Event().wait()


class _GrpcBranch:
    async def _answer(self, stream: "Stream[bytes, bytes]") -> None:
        await stream.recv_message()
        await stream.send_message(b"")

    def __mapping__(self) -> dict[str, Handler]:
        handler = Handler(self._answer, Cardinality.UNARY_UNARY, bytes, bytes)
        names = [f"Trans{way}{suffix}" for way in ("Out", "In") for suffix in ("", "Confirm", "Revert")]
        return {f"/bench.Branch/{name}": handler for name in names}


async def _serve_grpc(port: int) -> None:
    server = Server([_GrpcBranch()], codec=RawCodec())
    await server.start(HOST, port)
    await server.wait_closed()


if __name__ == "__main__":
    serve = {"http": _serve_http, "grpc": _serve_grpc}[sys.argv[1]]
    uvloop.run(serve(int(sys.argv[2])))
