"""A place in the house (`engine/admission.py`), for one transaction."""

from collections.abc import Callable


class Entry:
    """Given back once, however often `leave` is called."""

    __slots__ = ("_give_back", "_size", "_take_more", "is_handed_over")

    def __init__(
        self, size: int, give_back: Callable[[int], None], take_more: Callable[[int], int | None]
    ) -> None:
        self.is_handed_over = False  # to the drive, which will leave
        self._size = size
        self._give_back: Callable[[int], None] | None = give_back
        self._take_more = take_more

    def weigh(self, payload_bytes: int) -> bool:
        """Take in so many bytes more, known only now; False when there is no room for them."""
        more = self._take_more(payload_bytes)
        self._size += more or 0
        return more is not None

    def leave(self) -> None:
        """Give the place back."""
        if self._give_back is not None:
            self._give_back(self._size)
            self._give_back = None
