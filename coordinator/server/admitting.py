"""Who is let in: the gate as the settings have it, over the tokens of the store."""

from datetime import timedelta
from urllib.parse import urlsplit

from coordinator.access.book import READ_SECONDS, TokenBook
from coordinator.access.browser import OurHosts, normal_origin
from coordinator.access.certificates import METHOD, KnownCertificates
from coordinator.access.gate import Gate, Sessions
from coordinator.access.permissions import ROLES, Mode, Principal, Role
from coordinator.access.recorder import BEAT_SECONDS, Recorder
from coordinator.clock import SystemClock
from coordinator.config.read import access_remark
from coordinator.config.settings import Settings
from coordinator.discovery.target import is_loopback
from coordinator.server.tasks import Tasks
from coordinator.store.sql import SqlStore
from coordinator.store.tables import how_to_make
from coordinator.watching.readiness import Readiness


def open_recorder(
    settings: Settings, store: SqlStore, clock: SystemClock, readiness: Readiness, tasks: Tasks
) -> Recorder:
    """Who keeps the record of who did what. Its owner ends the tasks before the store."""
    sql = store.missing_tables.get("dtm_audit", "")
    remark = (
        f"the log alone is told who did what; to have a table of it, run {how_to_make(sql)}" if sql else ""
    )
    readiness.note("audit", lambda: remark)
    kept = timedelta(days=settings.access.audit_days)
    rows = None if sql else store.audit
    recorder = Recorder(rows, clock, coordinator=settings.instance_name, kept=kept)
    tasks.repeat(recorder.beat, "audit", seconds=BEAT_SECONDS)
    return recorder


async def open_gate(
    settings: Settings,
    store: SqlStore,
    clock: SystemClock,
    readiness: Readiness,
    tasks: Tasks,
    recorder: Recorder,
    sessions: Sessions | None,
) -> Gate:
    """The gate, which knows the tokens that stand. Its owner ends the tasks before the store.

    sessions: who is logged in; None where nobody can.
    """
    access = settings.access
    mode = Mode(access.mode)
    readiness.note("access", lambda: access_remark(settings))
    book = None
    if mode is not Mode.OFF:
        book = TokenBook(store.tokens, monotonic=clock.monotonic)
        _tell(book, mode, store, readiness)
        await book.beat()
        tasks.repeat(book.beat, "tokens", seconds=READ_SECONDS)
    owners = {
        it.san: Principal(it.name, ROLES[Role(it.role)], METHOD, it.gid_prefix)
        for it in access.certificate_list
    }
    return Gate(
        mode,
        metrics_are_open=access.metrics == "open",
        origins=[normal_origin(origin) for origin in access.origin_list],
        tokens=book,
        certificates=KnownCertificates(owners, clock.now) if owners else None,
        sessions=sessions,
        told=recorder.not_let_in,
    )


def own_hosts(settings: Settings, host: str) -> OurHosts | None:
    """By which names a port may be asked where its address alone keeps strangers out; None: by any."""
    if not is_loopback(host) or Mode(settings.access.mode) is Mode.ALL:
        return None
    return OurHosts(urlsplit(origin).hostname or "" for origin in settings.access.origin_list)


def _tell(book: TokenBook, mode: Mode, store: SqlStore, readiness: Readiness) -> None:
    """Say why nobody can be known by a token: who needs none can go on, where the mode lets them."""

    def trouble() -> str:
        if book.trouble and (sql := store.missing_tables.get("dtm_token")):
            return f"no token can be known without the table dtm_token; to have it, run {how_to_make(sql)}"
        return book.trouble

    if mode is Mode.ALL:
        readiness.watch("access", trouble)
    else:
        readiness.note("tokens", trouble)
