"""Who is logged in, and how: as the settings have it, over the people and sessions of the store."""

import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass

from coordinator.access.issuing import Issuing
from coordinator.access.login import Login
from coordinator.access.oidc import OidcLogin
from coordinator.access.oidc_http import IssuerHttp
from coordinator.access.oidc_issuer import Issuer
from coordinator.access.oidc_tokens import Client
from coordinator.access.passwords import Passwords
from coordinator.access.people import People
from coordinator.access.recorder import Recorder
from coordinator.access.session_book import BEAT_SECONDS, SessionBook
from coordinator.clock import SystemClock
from coordinator.config.oidc import Oidc
from coordinator.config.settings import Settings
from coordinator.console.access import Keys
from coordinator.console.login import SignIn
from coordinator.server.tasks import Tasks
from coordinator.store.sql import SqlStore
from coordinator.store.tables import how_to_make
from coordinator.tls import ClientTls, TlsFiles
from coordinator.watching.readiness import Readiness


@dataclass(frozen=True, slots=True)
class SigningIn:
    """What the pages need. keys: of the page where an admin changes who may do what."""

    pages: SignIn
    keys: Keys


def open_log_in(
    settings: Settings,
    store: SqlStore,
    clock: SystemClock,
    readiness: Readiness,
    tasks: Tasks,
    recorder: Recorder,
    opened: AsyncExitStack,
) -> SigningIn:
    """What lets people in. Its owner ends the tasks."""
    issuers = [settings.oidc.issuer] if settings.oidc.issuer else []
    passwords = Passwords()
    opened.callback(passwords.close)
    book = SessionBook(store.people.sessions, issuers=issuers, monotonic=clock.monotonic)
    tasks.repeat(book.beat, "sessions", seconds=BEAT_SECONDS)
    missing = [sql for name in ("dtm_user", "dtm_session") if (sql := store.missing_tables.get(name))]
    remark = (
        f"nobody can log in without the tables dtm_user and dtm_session; run {how_to_make(' '.join(missing))}"
    )
    readiness.note("sessions", lambda: remark if missing else book.trouble)
    login = Login(
        store.people.users,
        store.people.sessions,
        passwords,
        recorder,
        has_changed=book.has_changed,
        monotonic=clock.monotonic,
    )
    keys = Keys(
        People(store.people.users, passwords, recorder),
        login,
        book,
        Issuing(store.tokens, recorder, now=store.utc_now, random_bytes=secrets.token_bytes),
        store.people.users.all,
        store.tokens.all,
        settings.oidc.issuer,
    )
    return SigningIn(SignIn(login, book, _open_oidc(settings.oidc, clock, opened)), keys)


def _open_oidc(oidc: Oidc, clock: SystemClock, opened: AsyncExitStack) -> OidcLogin | None:
    """Logging in at an issuer; None where none is configured. Raises StartError for a bad file."""
    if not oidc.issuer:
        return None
    client = Client(
        oidc.issuer,
        oidc.client_id,
        oidc.client_secret.get_secret_value(),
        oidc.redirect_url,
        oidc.groups_claim,
        oidc.group_roles,
    )
    http = IssuerHttp(ClientTls(TlsFiles(oidc.ca_file), "Oidc.CaFile").context)
    opened.push_async_callback(http.close)
    return OidcLogin(client, Issuer(client, http.fetch, clock.monotonic), secrets.token_bytes)
