"""What kind of trouble an error of a call was, for whoever must mend it."""

import ssl

from coordinator.attempt import Kind
from coordinator.calls.connect import CannotResolve
from coordinator.calls.content import CannotUnpack
from coordinator.calls.http_errors import Broken
from coordinator.calls.places import Refused


def kind_of(error: BaseException) -> Kind:
    """The kind of an error that a call ended with. error: a Broken, OSError or ValueError."""
    match error:
        case Broken():
            return Kind.BROKEN if error.__cause__ is None else kind_of_connecting(error.__cause__)
        case CannotUnpack():
            return Kind.BROKEN
        case ssl.SSLError() | CannotResolve() | Refused():  # before ValueError, which some of TLS's are, too
            return kind_of_connecting(error)
        case OSError():
            return Kind.BROKEN
        case _:
            return Kind.URL


def kind_of_connecting(error: BaseException | None) -> Kind:
    """The kind of an error that kept a connection from being made."""
    match error:
        case CannotResolve():
            return Kind.DNS
        case Refused():
            return Kind.PLACE
        case ssl.SSLError():
            return Kind.TLS
        case TimeoutError():
            return Kind.TIMEOUT
        case _:
            return Kind.REFUSED
