"""User ids: made here, before the transaction starts, so that every step can carry them."""

import random
import time
from collections.abc import Callable
from typing import Final

EPOCH_MILLISECONDS: Final = 1_704_067_200_000  # 2024-01-01 UTC
INSTANCE_BITS: Final = 10
SEQUENCE_BITS: Final = 12


class UserIds:
    """Positive 63-bit ids that grow with time: milliseconds, instance, sequence.

    instance: 0 to 1023, drawn when not given; two processes of one instance number could make the same id,
    and the user table would then refuse the second. clock: milliseconds since 1970.
    """

    def __init__(
        self, instance: int | None = None, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._instance = random.SystemRandom().getrandbits(INSTANCE_BITS) if instance is None else instance
        self._clock = clock
        self._millisecond = 0
        self._sequence = 0

    def next(self) -> int:
        """Return an id that this object has not returned before, also when the clock is set back."""
        now = max(self._clock() - EPOCH_MILLISECONDS, self._millisecond)
        if now > self._millisecond:
            self._millisecond, self._sequence = now, 0
        else:
            self._sequence += 1
            if self._sequence >> SEQUENCE_BITS:
                # More than 4,096 in one millisecond: borrow from the next.
                self._millisecond, self._sequence = self._millisecond + 1, 0
        return (self._millisecond << INSTANCE_BITS | self._instance) << SEQUENCE_BITS | self._sequence
