"""How many bytes of requests are held at a time, over all connections: more are refused unread."""

from typing import Final

from coordinator.errors import Busy

BYTES_MAX: Final = 64 * 1024 * 1024
BODY_BYTES_MAX: Final = 4 * 1024 * 1024  # of one request, unless the configuration says otherwise
# What trickles in may not fill it all: requests that arrive at once find the rest.
_ARRIVING_SHARE: Final = 0.75


class Room:
    """Counts the bytes that each request holds while it is read and answered."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._arriving_max = int(bytes_max * _ARRIVING_SHARE)
        self._held: dict[int, int] = {}
        self.taken = 0

    def take(self, holder: object, size: int, *, arriving: bool = False) -> None:
        """Let the holder hold `size` bytes more until it is released; 0 only asks whether there is room.

        arriving: they come piece by piece. Raises Busy when there is no room for them.
        """
        taken = self.taken + size
        if taken > (self._arriving_max if arriving else self._bytes_max):
            raise Busy(
                f"the coordinator holds {self.taken} bytes of requests and has no room for this one",
                "ask again later, or add a coordinator",
            )
        self.taken = taken
        key = id(holder)
        self._held[key] = self._held.get(key, 0) + size

    def give_back(self, holder: object, size: int) -> None:
        """Let the holder hold `size` bytes less of what it holds."""
        self.taken -= size
        self._held[id(holder)] -= size

    def release(self, holder: object) -> None:
        """Forget what the holder holds, if anything."""
        self.taken -= self._held.pop(id(holder), 0)
