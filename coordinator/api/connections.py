"""How many connections each port takes: so many that descriptors are left for the store and the branches."""

from typing import Final

CONNECTIONS_MAX: Final = 10_000
_SHARE: Final = 3  # of what the process may open, a third for each port
_OPERATORS_MAX: Final = 256
_OPERATORS_SHARE: Final = 32


def connections_max() -> int:
    """The bound of one port, in this process."""
    return _share(_SHARE, CONNECTIONS_MAX)


def operators_connections_max() -> int:
    """The bound of a port that is for operators alone: people, and what collects metrics."""
    return _share(_OPERATORS_SHARE, _OPERATORS_MAX)


def _share(share: int, at_most: int) -> int:
    try:
        import resource
    except ImportError:
        return at_most
    may_open, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return at_most if may_open < 0 else min(at_most, max(may_open // share, 1))
