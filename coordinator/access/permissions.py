"""Principal → permissions → yes or no: the one decision, whatever protocol asks for it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Permission(StrEnum):
    """What somebody may do."""

    SUBMIT = "submit"  # the transaction API, of the gids that are the principal's
    READ = "read"
    READ_PAYLOAD = "read.payload"
    OPERATE = "operate"  # bring forward, one or many; hold endpoints
    OPERATE_FORCE = "operate.force"  # stop for good
    TOPICS = "topics"
    AUDIT_READ = "audit.read"
    ADMIN = "admin"
    METRICS = "metrics"


class Role(StrEnum):
    """What a token is made for."""

    SERVICE = "service"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Mode(StrEnum):
    """For what a credential is needed, as `Access.Mode` says."""

    OFF = "off"
    OPERATORS = "operators"  # for all but the transaction API
    ALL = "all"


_VIEWER: Final = frozenset({Permission.READ, Permission.METRICS})
ROLES: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.SERVICE: frozenset({Permission.SUBMIT}),
    Role.VIEWER: _VIEWER,
    Role.OPERATOR: _VIEWER
    | {Permission.READ_PAYLOAD, Permission.OPERATE, Permission.OPERATE_FORCE, Permission.TOPICS},
    Role.ADMIN: frozenset(Permission),
}

HUMAN_ROLES: Final = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)  # of those who log in


@dataclass(frozen=True, slots=True)
class Needs:
    """What a call needs: any one of these permissions. Stands where the call is registered.

    changes: whether it changes anything, so that a page in somebody's browser must not make it.
    is_open: it is everybody's in every mode, and needs none.
    """

    any_of: frozenset[Permission]
    changes: bool
    is_open: bool = False

    def __post_init__(self) -> None:
        if bool(self.any_of) is self.is_open:
            raise ValueError("a call is open, or says which permissions it needs")


OPEN: Final = Needs(frozenset(), changes=False, is_open=True)

OPEN_CHANGE: Final = Needs(frozenset(), changes=True, is_open=True)  # such as logging in


def looks(*any_of: Permission) -> Needs:
    """For a call that only looks."""
    return Needs(frozenset(any_of), changes=False)


def changes(*any_of: Permission) -> Needs:
    """For a call that changes something."""
    return Needs(frozenset(any_of), changes=True)


def is_for_clients(needs: Needs) -> bool:
    """Whether programs with transactions make that call: it stays at their port where operators have one."""
    return needs.is_open or Permission.SUBMIT in needs.any_of


def is_for_operators(needs: Needs) -> bool:
    """Whether those who look after them do."""
    return needs.is_open or needs.any_of != {Permission.SUBMIT}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. name: for people. method: how that is known. gid_prefix: of the gids that are theirs."""

    name: str
    permissions: frozenset[Permission]
    method: str = "none"  # nothing was shown; `token <id>`; `certificate`; `session`; `oidc`
    gid_prefix: str = ""

    def owns(self, gid: str) -> bool:
        """Whether a transaction of that gid is the principal's to submit, and to ask about."""
        return gid.startswith(self.gid_prefix)


ANYBODY: Final = Principal("anybody", frozenset(Permission))  # where nothing is kept from anybody


def anonymous(mode: Mode, *, metrics_are_open: bool) -> Principal:
    """Who asks without a credential."""
    if mode is Mode.OFF:
        return ANYBODY
    permissions = ROLES[Role.SERVICE] if mode is Mode.OPERATORS else frozenset[Permission]()
    return Principal("anonymous", permissions | {Permission.METRICS} if metrics_are_open else permissions)


def may(who: Principal, needs: Needs) -> bool:
    """The decision."""
    return needs.is_open or not needs.any_of.isdisjoint(who.permissions)
