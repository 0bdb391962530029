"""What is scarce in a history: places at coordinators, and endpoints that are slow, hang or refuse.

All of it is drawn from the seed. When the world heals, endpoints answer again; the bounds stay as small.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from coordinator.backoff import Timing
from coordinator.engine.admission import Bounds
from coordinator.model import Branch

ENDPOINTS: Final = ("one", "two", "three", "four")
SLOWEST_SECONDS: Final = 0.2  # that an answer takes of an endpoint that is well
PAYLOADS: Final = (2, 2, 400, 4000)  # bytes


@dataclass(frozen=True)
class Trouble:
    """Seconds of virtual time in which an endpoint answers nobody: it hangs, or refuses at once."""

    begins: float
    ends: float
    hangs: bool


@dataclass(frozen=True)
class Endpoint:
    """One service. slowest: seconds that an answer takes at most while nothing is wrong."""

    slowest: float = SLOWEST_SECONDS
    troubles: tuple[Trouble, ...] = ()

    def trouble(self, now: float) -> Trouble | None:
        """What is wrong with it now."""
        return next((it for it in self.troubles if it.begins <= now < it.ends), None)


@dataclass(frozen=True)
class Figures:
    """One coordinator's own settings, where coordinators over one store may differ."""

    timing: Timing
    bounds: Bounds
    page: int = 500


@dataclass(frozen=True)
class Pressure:
    """What one history has to get along with."""

    figures: tuple[Figures, Figures]
    endpoints: dict[str, Endpoint]
    arrival_seconds: float  # within which all clients begin

    @property
    def first_intervals(self) -> set[int]:
        """With which a transaction may begin that brings none of its own, seconds."""
        return {it.timing.retry_interval for it in self.figures}


def draw_pressure(random: Random, storm_seconds: float) -> Pressure:
    """One history in three is at ease, as far as places go."""
    is_easy = random.random() < 0.33
    figures = (_figures(random, is_easy=is_easy), _figures(random, is_easy=is_easy))
    endpoints = {name: _endpoint(random, storm_seconds) for name in ENDPOINTS[: random.randint(1, 4)]}
    arrival = storm_seconds if is_easy else random.choice([1.0, 15.0, storm_seconds])
    return Pressure(figures, endpoints, arrival)


def url(random: Random, endpoints: dict[str, Endpoint], path: str) -> str:
    """An address at one of the endpoints."""
    return f"http://{random.choice(list(endpoints))}/{path}"


def endpoint_of(branch: Branch) -> str:
    """Whose places a call to this branch takes: scheme and host are an endpoint."""
    return branch.url.split("/")[2] if branch.url else ""


def _figures(random: Random, *, is_easy: bool) -> Figures:
    timing = Timing(retry_interval=random.choice([10, 10, 25]))
    if is_easy:
        return Figures(timing, Bounds(transactions_max=1000))
    bounds = Bounds(
        transactions_max=random.choice([3, 5, 12, 50]),
        bytes_max=random.choice([4_000, 20_000, 64 << 20]),
        window_max=random.randint(1, 4),
    )
    return Figures(timing, bounds, page=random.choice([2, 5, 500]))


def _endpoint(random: Random, storm_seconds: float) -> Endpoint:
    slowest = random.choice([SLOWEST_SECONDS, SLOWEST_SECONDS, 3.0])
    if random.random() < 0.4:
        return Endpoint(slowest)
    begins = random.random() * storm_seconds
    lasts = random.choice([5.0, 60.0, 2 * storm_seconds])
    return Endpoint(slowest, (Trouble(begins, begins + lasts, hangs=random.random() < 0.6),))
