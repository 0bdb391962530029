from coordinator.watching.pace import Pace, Totals

ENDS = (0.01, 0.1, float("inf"))


class Counting:
    def __init__(self) -> None:
        self.now = 0.0
        self.totals = Totals(0, 0, [(end, 0.0) for end in ENDS])

    async def after(self, pace: Pace, seconds: float, ok: int, failed: int, upto: tuple[float, ...]) -> None:
        self.now += seconds
        self.totals = Totals(ok, failed, list(zip(ENDS, upto, strict=True)))
        await pace.beat()


async def test_the_pace_is_of_the_last_minute() -> None:
    counting = Counting()
    pace = Pace(lambda: counting.totals, lambda: counting.now)
    assert (pace.per_second(), pace.median_seconds(), pace.rolled_back_share()) == (0.0, None, None)
    await pace.beat()
    await counting.after(pace, 5, 90, 10, (50, 100, 100))
    assert pace.per_second() == 20
    assert pace.median_seconds() == 0.01
    assert pace.rolled_back_share() == 0.1
    for _ in range(13):
        await counting.after(pace, 5, 90, 10, (50, 100, 100))
    assert (pace.per_second(), pace.median_seconds()) == (0.0, None)


async def test_what_took_longer_than_every_bucket_is_named_by_the_last_end() -> None:
    counting = Counting()
    pace = Pace(lambda: counting.totals, lambda: counting.now)
    await pace.beat()
    await counting.after(pace, 5, 10, 0, (0, 1, 10))
    assert pace.median_seconds() == 0.1
