"""How an attempt to commit a batch can fail, and who is told of one that did not."""

from typing import Protocol

from coordinator.errors import DtmError
from coordinator.store.faults import Fault, fault_of, is_unsuited, reason_of, refusal


class Rejected(Exception):
    """The database refused a value of the batch; nothing was stored. error: for the caller.

    perhaps_raced: looked at more closely it may end differently. always: any other value would be, too.
    """

    def __init__(self, error: DtmError, *, perhaps_raced: bool = False, always: bool = False) -> None:
        super().__init__(error.message)
        self.error = error
        self.always = always
        self.perhaps_raced = perhaps_raced


class TryAgain(Exception):
    """The batch was not written, or nobody knows; trying again is safe.

    one_by_one: somebody else holds a row of the batch; the others should not wait for it. broke: the
    connection was lost while the batch was being written, so perhaps by a work of it.
    """

    def __init__(self, reason: str, *, one_by_one: bool = False, broke: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.one_by_one = one_by_one
        self.broke = broke


def failure_of(error: BaseException, *, began: bool) -> Rejected | TryAgain:
    """What an error of STORE_ERRORS makes of the batch. began: the connection was there to write it on."""
    match fault_of(error):
        case Fault.REFUSED:
            return Rejected(refusal(error), always=is_unsuited(error))
        case Fault.DUPLICATE:  # another coordinator may have inserted it since we looked
            return Rejected(refusal(error), perhaps_raced=True)
        case Fault.LOCKED:
            return TryAgain(reason_of(error), one_by_one=True)
        case Fault.DEADLOCK:
            return TryAgain(reason_of(error))
        case Fault.AWAY:  # one that does not answer was not broken by what it was asked
            return TryAgain(reason_of(error), broke=began and not isinstance(error, TimeoutError))


class Observer(Protocol):
    """Told about each commit, for metrics."""

    def batch_written(self, size: int, size_bytes: int, seconds: float, /) -> None:
        """One commit of `size` works, about `size_bytes` of values, took this long."""
        ...


class SilentObserver:
    """Metrics switched off."""

    def batch_written(self, size: int, size_bytes: int, seconds: float, /) -> None:
        """Do nothing."""
