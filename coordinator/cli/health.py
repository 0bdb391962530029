"""`dtm health`: asks the coordinator that runs with this configuration whether it is ready."""

import json
import ssl
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Final

from coordinator.config.network import Tls
from coordinator.config.settings import Settings

_ANSWER_SECONDS: Final = 3.0
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_NO_PROXY: Final = urllib.request.ProxyHandler({})


def health_of(settings: Settings) -> tuple[bool, str]:
    """Whether it is ready, and a sentence. Blocks for at most some seconds."""
    if not settings.http_port:
        return False, "HttpPort is 0, any free one: nobody knows where to ask"
    host = _ANY.get(settings.host, settings.host)
    scheme = "https" if settings.tls.cert_file else "http"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.http_port}/api/ready"
    try:
        with _opener(settings.tls).open(url, timeout=_ANSWER_SECONDS):
            return True, f"{url}: ready"
    except urllib.error.HTTPError as error:
        with error:
            return False, f"{url}: {_not_ready(error)}"
    except (OSError, ValueError) as error:  # URLError is an OSError
        return False, f"{url}: no answer: {getattr(error, 'reason', error)}"


def _opener(tls: Tls) -> urllib.request.OpenerDirector:
    """Asks without a proxy between. Whose certificate the coordinator shows is not looked at."""
    if not tls.cert_file:
        return urllib.request.build_opener(_NO_PROXY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # it is asked by its address, and told nothing
    context.verify_mode = ssl.CERT_NONE
    if tls.client_ca_file and tls.clients == "required":
        with suppress(OSError):  # its own will do where the same CA has signed it
            context.load_cert_chain(tls.cert_file, tls.key_file or None, password="")
    return urllib.request.build_opener(_NO_PROXY, urllib.request.HTTPSHandler(context=context))


def _not_ready(error: urllib.error.HTTPError) -> str:
    body = error.read(10_000)
    try:
        return f"not ready: {json.dumps(json.loads(body), ensure_ascii=False)}"
    except ValueError:
        return f"status {error.code}: is it a coordinator?"


def words_of_process(pid: int) -> list[str]:
    """The command line of a process behind `dtm`; empty where there is none, or it cannot be read."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
    for place, word in enumerate(words):
        if Path(word).name == "dtm":
            return [given for given in words[place + 1 :] if given]
    return []
