"""Passwords: which will do, how they are kept (Argon2id) and compared; few at a time, beside the loop."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from coordinator.errors import Busy

T = TypeVar("T")

CHARACTERS_MIN: Final = 12
BYTES_MAX: Final = 1024
AT_ONCE: Final = 2  # each takes 32 MiB, and a core for about a tenth of a second
WAITING_MAX: Final = 50
_MEMORY_KIB: Final = 32_768
_PASSES: Final = 2


def why_not(password: str, name: str) -> str:
    """Why this password will not do for who is called so; empty where it will."""
    if len(password) < CHARACTERS_MIN:
        return f"a password has at least {CHARACTERS_MIN} characters, this one has {len(password)}"
    if len(password.encode(errors="replace")) > BYTES_MAX:
        return f"a password has at most {BYTES_MAX} bytes"
    if any(0xD800 <= ord(it) < 0xE000 or it in "\0\r\n" for it in password):
        return "a password is one line of text"
    if len(set(password)) < 4 or password.lower() in (name * 20)[:BYTES_MAX]:
        return "this password is too easy to guess: write a few words that do not belong together"
    return ""


class Passwords:
    """Makes and compares Argon2id's text of passwords, AT_ONCE at a time. Its owner closes it.

    memory_kib, passes: what each costs; less in tests.
    """

    def __init__(self, *, memory_kib: int = _MEMORY_KIB, passes: int = _PASSES) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="password")
        self._asked = 0  # that work or wait
        self._nobodys = ""  # what a password is compared with where there is nobody

    async def hash(self, password: str) -> str:
        """What is kept of it. Raises Busy."""
        return await self._run(partial(self._hasher.hash, password))

    async def is_right(self, kept: str | None, password: str) -> bool:
        """Whether it is the password that this was kept of. None: nobody's; takes as long. Raises Busy."""
        if not self._nobodys:
            self._nobodys = await self.hash(secrets.token_hex())
        is_right = await self._run(partial(self._is_right, kept or self._nobodys, password))
        return is_right and kept is not None

    def close(self) -> None:
        """End the threads, once what they do is done."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _is_right(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, function: Callable[[], T]) -> T:
        if self._asked >= AT_ONCE + WAITING_MAX:
            raise Busy("too many passwords are being looked at just now; try again in a moment")
        self._asked += 1
        work = asyncio.get_running_loop().run_in_executor(self._threads, function)
        work.add_done_callback(self._count_down)
        return await work

    def _count_down(self, _: object) -> None:
        self._asked -= 1
