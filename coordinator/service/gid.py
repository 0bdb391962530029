"""New gids: a UUID in 57 letters that are not mistaken for each other, at most 22 of them (PROTOCOL §3)."""

from random import Random
from typing import Final

_LETTERS: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LENGTH: Final = 22  # 57 ** 22 > 2 ** 128


def new_gid(random: Random) -> str:
    """Return 22 letters that hold 128 random bits."""
    number = random.getrandbits(128)
    letters = []
    for _ in range(_LENGTH):
        number, index = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[index])
    return "".join(letters)
