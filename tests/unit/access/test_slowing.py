"""Attempts to log in: slowed by account and by address, nobody locked out, memory bounded."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from coordinator.access.slowing import KEYS_MAX, PATIENCE_SECONDS, Slowing

HERE, THERE, ELSEWHERE = "10.0.0.1", "10.0.0.2", "10.0.0.3"
DAY = 86_400.0


def guesses(slowing: Slowing, account: str, address: str, seconds: float, now: float = 0.0) -> int:
    """How many passwords somebody can try who never stops, each as soon as it may be."""
    tried, end = 0, now + seconds
    while now < end:
        attempt = slowing.attempt(account, address, now)
        if attempt.wait is None:
            now += max(attempt.again - PATIENCE_SECONDS, 0.01)
        else:
            tried += 1
            now += attempt.wait
    return tried


def test_who_mistypes_some_times_waits_for_nothing():
    slowing = Slowing()
    assert [slowing.attempt("anna", HERE, now).wait for now in range(8)] == [0.0] * 8


def test_one_account_is_tried_some_twenty_thousand_times_a_day_at_most():
    assert guesses(Slowing(), "anna", HERE, DAY) < 22_000


def test_many_addresses_together_try_one_account_no_more_often():
    slowing, tried, now = Slowing(), 0, 0.0
    for number in count():
        now += 0.01
        if now > 600:
            break
        tried += slowing.attempt("anna", f"10.1.{number % 5000 // 250}.{number % 250}", now).wait is not None
    assert tried <= 600 / 4 + 8 + 6  # those that wait at the end with them


def test_one_address_is_slowed_whatever_accounts_it_tries():
    slowing = Slowing()
    tried = sum(slowing.attempt(f"user{n}", HERE, n / 100).wait is not None for n in range(6000))
    assert tried <= 60 + 30 + PATIENCE_SECONDS + 1
    assert slowing.attempt("anna", THERE, 60.0).wait == 0.0


def test_where_somebody_logged_in_they_go_on_while_others_try_their_account():
    slowing = Slowing()
    assert slowing.attempt("anna", HERE, 0.0).wait == 0.0
    slowing.succeeded("anna", HERE)
    for address in (THERE, ELSEWHERE):
        guesses(slowing, "anna", address, 60.0, 1.0)
    assert slowing.attempt("anna", HERE, 61.0).wait == 0.0


def test_from_a_new_address_somebody_gets_in_while_another_never_stops():
    slowing = Slowing()
    guesses(slowing, "anna", THERE, 600.0)
    wait = slowing.attempt("anna", HERE, 600.0).wait
    assert wait is not None
    assert wait <= 20.0


def test_even_where_an_account_was_logged_in_to_guesses_are_slowed():
    slowing = Slowing()
    slowing.attempt("anna", HERE, 0.0)
    slowing.succeeded("anna", HERE)
    assert guesses(slowing, "anna", HERE, 600.0) <= 600 / 4 + 12


def test_what_went_well_leaves_no_mark():
    slowing = Slowing()
    for _ in range(1000):
        assert slowing.attempt("anna", HERE, 5.0).wait == 0.0
        slowing.succeeded("anna", HERE)


def test_marks_fade():
    slowing = Slowing()
    while slowing.attempt("anna", HERE, 0.0).wait is not None:
        pass
    assert slowing.attempt("anna", HERE, 100.0).wait == 0.0


def test_who_is_told_to_come_again_may_when_they_do():
    slowing = Slowing()
    while (attempt := slowing.attempt("anna", HERE, 0.0)).wait is not None:
        pass
    assert slowing.attempt("anna", HERE, attempt.again).wait == 0.0


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.floats(0, 9), st.booleans())))
def test_nobody_waits_longer_than_is_bearable_and_everybody_gets_in_at_last(
    events: list[tuple[str, str, float, bool]],
):
    slowing, now = Slowing(), 0.0
    for account, address, seconds, is_right in events:
        now += seconds
        attempt = slowing.attempt(account, address, now)
        assert attempt.wait is None or 0 <= attempt.wait <= 20.0
        assert attempt.wait is not None or attempt.again > PATIENCE_SECONDS
        if attempt.wait is not None and is_right:
            slowing.succeeded(account, address)
    for account, address in ("ax", "by", "az"):
        assert slowing.attempt(account, address, now + 400.0).wait == 0.0


def test_memory_is_bounded():
    slowing = Slowing()
    for number in range(KEYS_MAX + 50):
        slowing.attempt(f"user{number}", f"address {number}", 0.0)
        slowing.succeeded(f"user{number}", f"address {number}")
        slowing.attempt(f"user{number}", f"address {number}", 0.0)
    for name, kept in vars(slowing).items():
        assert len(getattr(kept, "_faded_at", kept)) <= KEYS_MAX, name
