"""What strangers write, in gids, payloads and answers, is shown and does nothing."""

import json
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.browser.conftest import Open
from tests.support.browser import HEIGHT, WIDTHS
from tests.support.dev_process import DevProcess
from tests.support.looking import until
from tests.support.ports import HOST

pytestmark = pytest.mark.timeout(180)
SCRIPT: Final = "</script></pre><script>alert(1)</script><img src=x onerror=alert(2)>'\"{{ 7*7 }}"
BIDI: Final = "\u202etxet desrever\u202c \u2066isolated\u2069 \u200f\u200b"
LONG: Final = 60_000  # characters: a payload has room for 65,535 bytes, and a longer one is refused
# As gid, what the service answers, and the payload of the call.
HOSTILE: Final[dict[str, tuple[str, str, Any]]] = {
    "script": (f"<script>{SCRIPT[:60]}", SCRIPT, {"name": SCRIPT, SCRIPT: [SCRIPT]}),
    "long": ("w" * 128, "x" * 200_000, {"text": "W" * LONG}),
    "right to left": ("معاملة-١", "الحساب مغلق", {"اسم": "مرحبا بالعالم " * 40}),
    "bidi": (f"order-{BIDI}", BIDI * 20, {"note": BIDI * 100}),
    "lone surrogates": ("surrogates", "\\ud800 answered", {"half": "\ud83d", "other": "\udc00\ud800"}),
    "numbers": ("numbers", "1e999", {"big": 123456789012345678901234567890, "deep": [[[[[[[[1]]]]]]]]}),
    "no JSON": ("no-json", "\x1b[31mred\x00\x07", None),
}


class Answering(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = HOSTILE[self.path.split("?")[0].split("/")[1].replace("-", " ")][1].encode()
        self.send_response(500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def submitted(dev: DevProcess) -> Iterator[dict[str, str]]:
    """The gids of all, once their service has answered; by name."""
    service = ThreadingHTTPServer((HOST, 0), Answering)
    thread = Thread(target=service.serve_forever)
    thread.start()
    try:
        for name, (gid, _, payload) in HOSTILE.items():
            text = "\x00\xff not JSON \x1b[31m" if payload is None else json.dumps(payload)
            url = f"http://{HOST}:{service.server_address[1]}/{name.replace(' ', '-')}/{quote(SCRIPT)}"
            body = {
                "gid": gid,
                "trans_type": "saga",
                "steps": [{"action": url, "compensate": f"{url}/undo"}],
                "payloads": [text],
            }
            post(f"{dev.url}/api/dtmsvr/submit", body)
        for gid, _, _ in HOSTILE.values():
            until(lambda gid=gid: "W15" in show(dev, gid), 60)  # type: ignore[misc]
        yield {name: gid for name, (gid, _, _) in HOSTILE.items()}
    finally:
        service.shutdown()
        thread.join()
        service.server_close()


def post(url: str, body: dict[str, Any]) -> None:
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        answer.read()


def show(dev: DevProcess, gid: str) -> str:
    with urllib.request.urlopen(
        f"{dev.url}/api/operate/transactions/{quote(gid, safe='')}", timeout=30
    ) as answer:
        return str(json.load(answer)["why"]["code"])


def transaction(gid: str) -> str:
    return f"/transactions/{quote(gid, safe='')}"


def test_it_is_shown_and_does_nothing(opened: Open, dev: DevProcess, submitted: dict[str, str]) -> None:
    with opened() as it:
        for path in ("/", "/transactions", *map(transaction, submitted.values())):
            it.look(dev.url + path)
            for width in WIDTHS:
                it.page.set_viewport_size({"width": width, "height": HEIGHT})
                it.too_wide()
            assert it.page.locator("script:not([src])").count() == 0
            assert it.page.locator("img, iframe, object, embed").count() == 0
            assert "49" not in it.page.title()
        assert "\n".join(it.problems) == ""
