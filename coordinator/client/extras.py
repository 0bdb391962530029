"""What the extras of the distribution bring, and the error that names the extra where it is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from coordinator.client.errors import InvalidUse


class MissingExtra(InvalidUse, ImportError):
    """A library is not installed that an extra of `dtm-coordinator` brings; the message says which.

    As a branch's answer it is what every InvalidUse is (PROTOCOL §2).
    """


@contextmanager
def brought_by(extra: str, *modules: str) -> Iterator[None]:
    """Raise MissingExtra where an import inside the block does not find its library.

    extra: as in `pip install 'dtm-coordinator[extra]'`. modules: looked for as well, without loading them.
    """
    for module in modules:
        if find_spec(module) is None:
            raise _missing(extra, module)
    try:
        yield
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == "coordinator":
            raise
        raise _missing(extra, error.name) from error


def _missing(extra: str, module: str) -> MissingExtra:
    install = f"pip install 'dtm-coordinator[{extra}]'"
    return MissingExtra(f"this needs {module}, which is not installed: {install}")
