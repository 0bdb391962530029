"""PROTOCOL §10: several endpoints → round robin, skipping dead ones."""

from coordinator.calls.balance import Balancer


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_endpoint_has_its_turn() -> None:
    balancer = Balancer(dead_seconds=5, monotonic=_Clock())
    firsts = [balancer.order("user", ("a", "b", "c"))[0] for _ in range(6)]
    assert firsts == ["a", "b", "c", "a", "b", "c"]


def test_targets_called_in_turn_do_not_share_a_counter() -> None:
    """A two-step saga calls user, score, user, score …: both steps see all of their endpoints."""
    balancer = Balancer(dead_seconds=5, monotonic=_Clock())
    firsts = [balancer.order(target, ("a", "b"))[0] for _ in range(2) for target in ("user", "score")]
    assert firsts == ["a", "a", "b", "b"]


def test_a_dead_endpoint_is_the_last_resort_until_its_time_is_over() -> None:
    clock = _Clock()
    balancer = Balancer(dead_seconds=5, monotonic=clock)
    balancer.failed("b")
    assert [list(balancer.order("user", ("a", "b", "c"))) for _ in range(3)] == [
        ["a", "c", "b"],
        ["c", "a", "b"],
        ["c", "a", "b"],
    ]
    clock.now += 5.1
    assert list(balancer.order("user", ("a", "b", "c"))) == ["a", "b", "c"]


def test_an_endpoint_that_answers_is_alive() -> None:
    balancer = Balancer(dead_seconds=5, monotonic=_Clock())
    balancer.failed("a")
    assert balancer.is_dead("a")
    balancer.answered("a")
    assert not balancer.is_dead("a")


def test_one_endpoint_is_tried_however_dead() -> None:
    balancer = Balancer(dead_seconds=5, monotonic=_Clock())
    balancer.failed("a")
    assert list(balancer.order("user", ("a",))) == ["a"]
