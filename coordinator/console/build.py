"""All pages of one coordinator, put together."""

from collections.abc import Sequence

from coordinator.api.room import Room
from coordinator.console.access import AccessPage, Keys
from coordinator.console.acting import ActingPages
from coordinator.console.bulk import BulkPages
from coordinator.console.console import Console
from coordinator.console.endpoints import EndpointPages
from coordinator.console.fleet import FleetPages
from coordinator.console.inbox import Figures, InboxPage
from coordinator.console.links import NO_LINKS, LinkTemplates
from coordinator.console.live import Live
from coordinator.console.login import PATH as LOGIN
from coordinator.console.login import LoginPages, SignIn
from coordinator.console.own_password import OwnPasswordPage
from coordinator.console.rendering import Surroundings
from coordinator.console.settings import Setting, SettingsPage
from coordinator.console.topics import TopicPages
from coordinator.console.transaction import TransactionPage
from coordinator.console.transactions import TransactionsPage
from coordinator.service import Operations


def build_console(
    operations: Operations,
    figures: Figures,
    surroundings: Surroundings,
    live: Live,
    room: Room,
    *,
    sign_in: SignIn | None = None,
    keys: Keys | None = None,
    base: str = "",
    links: LinkTemplates = NO_LINKS,
    settings: Sequence[Setting] = (),
) -> Console:
    """Return the console.

    room: of requests' bytes. sign_in, keys: None where nobody is asked who they are.
    base: of a second place where the pages are; may be empty. links: to where else something is told of a
    transaction. settings: those in force.
    """
    operate = operations.operate
    pages = (
        *InboxPage(operations.overview, operate, figures).all(),
        *TransactionsPage(operate).all(),
        *LoginPages(sign_in).all(),
        *AccessPage(keys).all(),
        *OwnPasswordPage(keys).all(),
        *BulkPages(operations.bulk).all(),
        *EndpointPages(operations.endpoints).all(),
        *TopicPages(operations.topics).all(),
        *FleetPages(operate).all(),
        *SettingsPage(settings).all(),
        *TransactionPage(operate, surroundings, links).all(),
        *ActingPages(operate).all(),
    )
    return Console(surroundings, pages, live, room, bases(base), LOGIN if sign_in else "")


def bases(base: str) -> Sequence[str]:
    """Where the pages are: at `/`, and below this path."""
    path = "/" + base.strip("/")
    return ("",) if path == "/" else ("", path)
