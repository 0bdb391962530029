"""Tokens: their shape, what is stored of them, and the book in which those that stand are looked up."""

import asyncio
import os
import re
from collections.abc import Iterable
from datetime import timedelta
from itertools import count

import pytest

from coordinator.access.believed import BELIEVED_SECONDS
from coordinator.access.book import TokenBook
from coordinator.access.permissions import ROLES, Role
from coordinator.access.tokens import NewToken, hash_of, is_whole, new_token
from coordinator.errors import StoreUnavailable, Unauthenticated
from coordinator.model import EPOCH
from coordinator.store.access_tables import TokenRow, TokensRead

YEAR = timedelta(days=365)


class Rows:
    """The table: what stands, and what is asked."""

    def __init__(self) -> None:
        self.tokens: list[TokenRow] = []
        self.reads = 0
        self.noted: list[list[str]] = []
        self.is_away = False

    async def valid(self) -> TokensRead:
        self.reads += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise StoreUnavailable("the database is away")
        return TokensRead(EPOCH, list(self.tokens))

    async def used(self, identifiers: Iterable[str]) -> None:
        self.noted.append(sorted(identifiers))

    def add(self, role: str = "service", prefix: str = "") -> NewToken:
        token = new_token(os.urandom)
        self.tokens.append(TokenRow(token.id, token.hash, f"the {role}", role, prefix, EPOCH + YEAR))
        return token


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now += seconds


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(rows: Rows, clock: Clock) -> TokenBook:
    return TokenBook(rows, monotonic=clock, sleep=clock.sleep)


# ---- the text ------------------------------------------------------------------------------------


def test_a_token_has_256_random_bits_and_is_told_from_what_is_stored_of_it():
    numbers = count(1)
    token = new_token(lambda size: bytes([next(numbers)]) * size)
    assert re.fullmatch(r"dtm_010101010101_(02){32}_[0-9a-f]{8}", token.text)
    assert token.id == "010101010101"
    assert token.hash == hash_of(token.text) != token.text
    assert len(token.hash) == 64
    assert is_whole(token.text)


def test_no_two_are_alike():
    assert len({new_token(os.urandom).text for _ in range(100)}) == 100


def test_one_that_was_cut_or_mistyped_is_known_as_such_without_the_store():
    text = new_token(os.urandom).text
    broken = [text[:end] for end in range(len(text))] + [text + "0", f" {text}", text + "\n", text.upper()]
    for place, sign in enumerate(text):
        broken.append(text[:place] + ("1" if sign != "1" else "2") + text[place + 1 :])
    assert not any(map(is_whole, broken))


# ---- the book ------------------------------------------------------------------------------------


async def test_who_has_a_token_is_its_owner(book: TokenBook, rows: Rows):
    token = rows.add("service", "shop-")
    who = await book.owner_of(token.text)
    assert (who.name, who.permissions, who.gid_prefix) == ("the service", ROLES[Role.SERVICE], "shop-")
    assert who.method == f"token {token.id}"


async def test_what_was_read_is_believed_for_seconds(book: TokenBook, rows: Rows, clock: Clock):
    token = rows.add()
    for clock.now in (0.0, 1.0, BELIEVED_SECONDS - 0.01):
        await book.owner_of(token.text)
    assert rows.reads == 1
    clock.now = BELIEVED_SECONDS
    await book.owner_of(token.text)
    assert rows.reads == 2


async def test_one_that_was_revoked_is_known_no_more_after_5_seconds(
    book: TokenBook, rows: Rows, clock: Clock
):
    token = rows.add()
    await book.owner_of(token.text)
    rows.tokens.clear()
    clock.now = BELIEVED_SECONDS
    with pytest.raises(Unauthenticated, match="not known"):
        await book.owner_of(token.text)


async def test_one_that_was_made_just_now_is_looked_for(book: TokenBook, rows: Rows, clock: Clock):
    await book.beat()
    token = rows.add()
    clock.now = 0.5
    assert (await book.owner_of(token.text)).name == "the service"


async def test_who_makes_tokens_up_costs_the_store_next_to_nothing(book: TokenBook, rows: Rows, clock: Clock):
    await book.beat()
    made_up = [new_token(os.urandom).text for _ in range(200)]
    asked = [book.owner_of(text) for text in made_up]
    assert {type(it) for it in await asyncio.gather(*asked, return_exceptions=True)} == {Unauthenticated}
    assert rows.reads <= 3
    began = clock.now
    for text in made_up:
        with pytest.raises(Unauthenticated):
            await book.owner_of(text)
    assert rows.reads <= 3 + (clock.now - began) / 0.2 + 1  # five a second, one after the other
    reads = rows.reads
    for text in ("", "dtm_", "x" * 10_000, "dtm_" + "\udcff" * 90, made_up[0][:-1]):
        with pytest.raises(Unauthenticated):
            await book.owner_of(text)
    assert rows.reads == reads  # their shape tells


async def test_one_that_was_made_right_after_a_read_is_waited_for(book: TokenBook, rows: Rows, clock: Clock):
    clock.now = 1.0
    await book.beat()
    token = rows.add()
    clock.now = 1.001
    assert (await book.owner_of(token.text)).name == "the service"
    assert clock.now == pytest.approx(1.2)


async def test_many_that_wait_share_one_read(book: TokenBook, rows: Rows):
    token = rows.add()
    await asyncio.gather(*(book.owner_of(token.text) for _ in range(100)))
    assert rows.reads == 1


async def test_without_the_store_nobody_is_believed_for_longer(book: TokenBook, rows: Rows, clock: Clock):
    token = rows.add()
    await book.owner_of(token.text)
    rows.is_away = True
    clock.now = BELIEVED_SECONDS - 0.01
    await book.beat()
    assert book.trouble == "the database is away"
    await book.owner_of(token.text)
    clock.now = 2 * BELIEVED_SECONDS
    asked = [book.owner_of(token.text) for _ in range(50)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    assert rows.reads <= 3
    rows.is_away = False
    clock.now += 1
    await book.beat()
    assert book.trouble == ""
    await book.owner_of(token.text)


async def test_a_role_of_a_later_version_may_nothing(book: TokenBook, rows: Rows):
    token = rows.add("president")
    with pytest.raises(Unauthenticated):
        await book.owner_of(token.text)


async def test_which_were_used_is_noted_once_a_minute(book: TokenBook, rows: Rows, clock: Clock):
    one, two = rows.add(), rows.add()
    for second in range(0, 120, 2):
        clock.now = 60.0 + second
        await book.owner_of(one.text)
        await book.beat()
    assert rows.noted == [[one.id], [one.id]]
    await book.owner_of(two.text)
    clock.now = 200.0
    await book.beat()
    assert rows.noted[2] == sorted([one.id, two.id])
    clock.now = 300.0
    await book.beat()
    assert len(rows.noted) == 3  # nobody used any
