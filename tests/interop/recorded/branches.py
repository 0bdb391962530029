"""The branch service that the recorded calls name: the first part of the path is what it says."""

import threading
import time
import urllib.parse
from collections.abc import Mapping
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

SAYS: Mapping[str, tuple[int, str]] = {
    "fail": (409, '{"dtm_result":"FAILURE","message":"no money"}'),
    "fail-old": (200, '{"dtm_result":"FAILURE"}'),
    "ongoing": (425, "{}"),
    "boom": (500, "boom"),
}
FINE = (200, '{"dtm_result":"SUCCESS"}')
CALL_SECONDS = 10


class BranchService(AbstractContextManager["BranchService"]):
    """Answers, and remembers what it was asked for each gid."""

    def __init__(self) -> None:
        """Listen on a free port."""
        self._calls: dict[str, list[dict[str, Any]]] = {}
        self._arrived = threading.Condition()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                url = urllib.parse.urlsplit(self.path)
                code, text = SAYS.get(url.path.split("/")[1], FINE)
                service._note(self, url, body)
                self.send_response(code)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _note(self, request: BaseHTTPRequestHandler, url: urllib.parse.SplitResult, body: str) -> None:
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        call = {
            "method": request.command,
            "path": url.path,
            "query": query,
            "content_type": request.headers.get("content-type"),
            "body": body,
        }
        if team := request.headers.get("x-team"):
            call["x-team"] = team
        with self._arrived:
            self._calls.setdefault(query.get("gid", ""), []).append(call)
            self._arrived.notify_all()

    def asked(self, gid: str, *, since: int, at_least: int) -> list[dict[str, Any]]:
        """Return the calls for a gid after the first `since`; wait until there are `at_least`."""
        deadline = time.monotonic() + CALL_SECONDS
        with self._arrived:
            while len(self._calls.get(gid, [])) < since + at_least:
                left = deadline - time.monotonic()
                if left <= 0 or not self._arrived.wait(left):
                    break
            return self._calls.get(gid, [])[since:]

    def count(self, gid: str) -> int:
        """Return how often it was asked for a gid."""
        with self._arrived:
            return len(self._calls.get(gid, []))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
