"""User ids."""

from branches.api.identifiers import EPOCH_MILLISECONDS, UserIds


def test_ids_are_positive_different_and_grow_even_when_the_clock_is_set_back() -> None:
    now = EPOCH_MILLISECONDS + 1_000_000
    times = iter([now] * 6000 + [now - 500] * 6000 + [now + 5000] * 10)
    ids = UserIds(instance=5, clock=lambda: next(times))
    made = [ids.next() for _ in range(12010)]
    assert made == sorted(set(made))
    assert made[0] > 0 and made[-1] < 2**63


def test_two_instances_make_different_ids_in_the_same_millisecond() -> None:
    first, second = (UserIds(instance=number, clock=lambda: EPOCH_MILLISECONDS + 1) for number in (1, 2))
    assert {first.next() for _ in range(100)}.isdisjoint(second.next() for _ in range(100))


def test_ids_last_until_the_column_is_full() -> None:
    sixty_nine_years = 69 * 365 * 86_400_000
    assert UserIds(instance=1023, clock=lambda: EPOCH_MILLISECONDS + sixty_nine_years).next() < 2**63
