"""What submitting a transaction returns."""

from dataclasses import dataclass

from coordinator.model import Options, Status


@dataclass(frozen=True, slots=True)
class Submitted:
    """What `submit` returns (PROTOCOL §5).

    status: SUCCEED when the coordinator was asked to wait for the end, SUBMITTED when it only took the
    transaction.
    """

    gid: str
    status: Status


def submitted(gid: str, options: Options) -> Submitted:
    """Return what a submit that came back without an error has reached."""
    return Submitted(gid, Status.SUCCEED if options.wait_result else Status.SUBMITTED)
