"""What keeps an HTTP call from a whole answer, as sentences for operators."""

from coordinator.calls.content import CannotUnpack


class Broken(Exception):
    """No whole answer came. what: what happened. why: the system's or the parser's words for it."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what, why)
        self.what = what
        self.why = why


class Stopping(Exception):
    """The coordinator makes no calls any more."""


def describe(error: Exception, url: str) -> str:
    """Say what kept `url` from answering. error: a Broken, OSError or ValueError."""
    match error:
        case Broken():
            what, why = error.what, error.why
        case CannotUnpack():
            what, why = "the answer cannot be unpacked", text_of(error)
        case OSError():
            what, why = "the connection broke", text_of(error)
        case _:
            what, why = "cannot be called", text_of(error)
    return f"{url}: {what} ({why})"


def text_of(error: BaseException) -> str:
    """The error's own words, on one line; its name when it has none."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split()) or type(error).__name__
