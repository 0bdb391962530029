"""aiohttp's exceptions, as sentences for operators."""

import aiohttp

from coordinator.calls.content import CannotUnpack


def describe(error: Exception, url: str) -> str:
    """Say what kept `url` from answering. error: an aiohttp.ClientError, OSError or ValueError."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            what, why = "the host name cannot be resolved", _system(error)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            what, why = "TLS failed", _text(error)
        case aiohttp.ClientConnectorError():
            what, why = "cannot connect", _system(error)
        case aiohttp.ServerDisconnectedError():
            what, why = "no answer", "the connection was closed before one came"
        case aiohttp.ClientPayloadError():
            what, why = "the answer broke off", _text(error)
        case aiohttp.ClientResponseError():
            what, why = "the answer is not HTTP", " ".join(error.message.split()) or _text(error)
        case aiohttp.InvalidURL():
            what, why = "cannot be called", _text(error)
        case aiohttp.ClientError() | OSError():
            what, why = "the connection broke", _text(error)
        case CannotUnpack():
            what, why = "the answer cannot be unpacked", _text(error)
        case _:
            what, why = "cannot be called", _text(error)
    return f"{url}: {what} ({why})"


def _system(error: aiohttp.ClientConnectorError) -> str:
    return error.os_error.strerror or _text(error.os_error)


def _text(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
