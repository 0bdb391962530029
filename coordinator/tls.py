"""How connections are encrypted: certificates read, made into contexts, read again when they change."""

import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from coordinator.errors import StartError

HANDSHAKE_SECONDS: Final = 10.0  # that a client may take: until then it is no connection yet that is counted

_ALPN_ANY: Final = ""
_Stamps = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files, each empty for none.

    ca: certificates of whom is trusted; none: whom the system trusts. cert: what is shown to the other side,
    with its chain. key: that of cert; none: it stands in the same file.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are given."""
        return tuple(name for name in (self.ca, self.cert, self.key) if name)


class ClientTls:
    """What we connect with: contexts that follow their files. what: whose they are, for people.

    Raises StartError for files that cannot be used.
    """

    def __init__(self, files: TlsFiles, what: str) -> None:
        self._files = files
        self._watched = _Watched(files, what)
        self._contexts: dict[str, ssl.SSLContext] = {}
        if files.names:
            self.context()  # so that what is wrong is said now

    def context(self, alpn: str = _ALPN_ANY) -> ssl.SSLContext:
        """The context as the files are now. alpn: the protocol to be spoken inside, `h2` or `http/1.1`."""
        found = self._contexts.get(alpn)
        if found is None:
            found = self._contexts[alpn] = client_context(self._files, alpn)
        return found

    def renew(self) -> None:
        """Look whether the files have changed; new connections use what they hold then.

        What cannot be used changes nothing, and is `problem` until it can.
        """
        self._watched.renew(self._make_anew)

    def _make_anew(self) -> None:
        self._contexts = {alpn: client_context(self._files, alpn) for alpn in self._contexts}

    @property
    def problem(self) -> str:
        """Why the files as they are now are not in use; empty when they are."""
        return self._watched.problem

    @property
    def expires_at(self) -> datetime | None:
        """Until when the certificate that is shown holds; aware, UTC."""
        return self._watched.expires_at


class ServerTls:
    """What we listen with: a context that follows its files. files.ca: whose clients' certificates are taken.

    With it, who shows none is let in only where `clients_need_one` is false, and no session is gone on
    with whose certificate was looked at earlier. alpn: the protocols that are spoken inside.

    Raises StartError for files that cannot be used.
    """

    def __init__(self, files: TlsFiles, what: str, *, alpn: Iterable[str], clients_need_one: bool) -> None:
        self._watched = _Watched(files, what)
        self._make: Callable[[], ssl.SSLContext] = partial(
            server_context, files, tuple(alpn), clients_need_one=clients_need_one
        )
        self._ca = files.ca
        self._first_ca = _content(files.ca)
        self._ca_is_another = False
        self._newest = self._make()
        self.context: Final = self._newest
        self.context.sni_callback = self._take_newest

    def renew(self) -> None:
        """As ClientTls.renew."""
        self._watched.renew(self._make_anew)

    def _make_anew(self) -> None:
        ca, self._newest = _content(self._ca), self._make()
        self._ca_is_another = self._ca_is_another or ca != self._first_ca

    def _take_newest(
        self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, context: ssl.SSLContext
    ) -> int | None:
        """Called in each handshake, whether the client names a server or not. Returns an alert to end it."""
        if self._ca_is_another and connection.session_reused:  # TLS 1.2: there are no tickets
            return ssl.ALERT_DESCRIPTION_CERTIFICATE_UNKNOWN
        if self._newest is not context:
            connection.context = self._newest
        return None

    @property
    def problem(self) -> str:
        """Why the files as they are now are not in use; empty when they are."""
        return self._watched.problem

    @property
    def expires_at(self) -> datetime | None:
        """Until when the certificate that is shown holds; aware, UTC."""
        return self._watched.expires_at


def listening_with(context: ssl.SSLContext | None) -> Mapping[str, Any]:
    """What `create_server` is told of TLS. context: None: plainly."""
    return {"ssl": context, "ssl_handshake_timeout": HANDSHAKE_SECONDS} if context else {}


def client_context(files: TlsFiles, alpn: str = _ALPN_ANY) -> ssl.SSLContext:
    """Make a context for connections of ours. Raises StartError naming the file."""
    context = ssl.create_default_context()
    if files.ca:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which trusts nobody yet
    return _completed(context, files, (alpn,) if alpn else ())


def server_context(files: TlsFiles, alpn: Iterable[str], *, clients_need_one: bool) -> ssl.SSLContext:
    """Make a context for connections of others. Raises StartError naming the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if files.ca:
        context.verify_mode = ssl.CERT_REQUIRED if clients_need_one else ssl.CERT_OPTIONAL
        context.num_tickets = 0  # with one, a client enters whose certificate would not do any more
        context.options |= ssl.OP_NO_TICKET
    return _completed(context, files, alpn)


def _completed(context: ssl.SSLContext, files: TlsFiles, alpn: Iterable[str]) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if protocols := list(alpn):
        context.set_alpn_protocols(protocols)
    _load(context, files)
    return context


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    if files.ca:
        _reading(files.ca, lambda: context.load_verify_locations(files.ca))
    if files.cert:
        # Never ask the terminal for the password of a key.
        _reading(files.cert, lambda: context.load_cert_chain(files.cert, files.key or None, password=""))


def _content(file: str) -> bytes:
    try:
        return Path(file).read_bytes() if file else b""
    except OSError:  # what is wrong with it is said where it is used
        return b""


def _reading(file: str, load: Callable[[], None]) -> None:
    try:
        load()
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).lower().replace("_", " ")
        hint = "write certificates in PEM; a key has to be that of its certificate, without a password"
        raise StartError(f"{file!r} holds nothing that can be used ({reason})", hint) from error
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        named = error.filename or file
        raise StartError(f"{named!r} or its key cannot be read: {reason}", "name files that exist") from error


def expiry_of(file: str) -> datetime:
    """When the first of the certificates in the file to do so expires. Raises OSError, ValueError."""
    from cryptography import x509  # only where certificates are configured: it costs time and memory

    return min(it.not_valid_after_utc for it in x509.load_pem_x509_certificates(Path(file).read_bytes()))


class _Watched:
    """Files of certificates: whether they have changed since, until when they hold."""

    def __init__(self, files: TlsFiles, what: str) -> None:
        self._files = files
        self._what = what
        self.problem = ""
        self.expires_at: datetime | None = None
        self._seen = self._stamps()
        self._taken()

    def renew(self, make: Callable[[], None]) -> None:
        """Where they have changed, make of them what is used; it raises StartError where that cannot be."""
        stamps = self._stamps()
        changed, self._seen = stamps != self._seen, stamps
        if not changed:
            return
        try:
            make()
        except StartError as error:
            self.problem = f"the certificate of {self._what} is still the old one: {error.message}"
        else:
            self._taken()

    def _taken(self) -> None:
        self.problem = ""
        try:
            self.expires_at = expiry_of(self._files.cert) if self._files.cert else None
        except (OSError, ValueError):  # changed in between: looked at again next time
            self.expires_at = None

    def _stamps(self) -> _Stamps:
        return tuple(map(_stamp, self._files.names))


def _stamp(file: str) -> tuple[int, int, int]:
    try:
        found = Path(file).stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino
