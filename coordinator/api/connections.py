"""How many connections each port takes: so many that descriptors are left for the store and the branches."""

from typing import Final

CONNECTIONS_MAX: Final = 10_000
_SHARE: Final = 3  # of what the process may open, a third for each port


def connections_max() -> int:
    """The bound of one port, in this process."""
    try:
        import resource
    except ImportError:
        return CONNECTIONS_MAX
    may_open, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS_MAX if may_open < 0 else min(CONNECTIONS_MAX, max(may_open // _SHARE, 1))
