"""Which measurements a run consists of. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

PROTOCOLS = ("http", "grpc")
STORES = ("mariadb", "sqlite", "postgres")


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One kind of measurement; every server takes it in turn."""

    store: str
    protocol: str
    pattern: str
    at_a_time: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """What is asked for. seconds: of one run."""

    patterns: tuple[str, ...]
    protocols: tuple[str, ...]
    stores: tuple[str, ...]
    at_a_time: tuple[int, ...]
    rounds: int
    seconds: int

    def cells(self, store: str) -> list[Cell]:
        """Those of one store, in the order in which they are measured."""
        return [Cell(store, *rest) for rest in product(self.protocols, self.patterns, self.at_a_time)]

    def estimated_seconds(self, servers: int, *, warm_up_seconds: float) -> float:
        """How long that many servers take, without starting and emptying."""
        cells = sum(len(self.cells(store)) for store in self.stores)
        return cells * servers * (warm_up_seconds + self.rounds * self.seconds)


def choices(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Read `one,other`, each of them known, in the order given. Raises ValueError."""
    chosen = tuple(dict.fromkeys(text.split(",")))
    unknown = [it for it in chosen if it not in known]
    if unknown:
        raise ValueError(f"{', '.join(map(repr, unknown))}: not one of {', '.join(known)}")
    return chosen


def numbers(text: str) -> tuple[int, ...]:
    """Read `1,16,64`, each at least 1. Raises ValueError."""
    found = tuple(dict.fromkeys(int(word) for word in text.split(",")))
    if min(found) < 1:
        raise ValueError(f"{text}: 1 is the least")
    return found


def named(text: str) -> tuple[str, str]:
    """Read `NAME=VALUE`; without a name it is the last part of a path. Raises ValueError."""
    name, equals, value = text.partition("=")
    if not equals:
        return text.rstrip("/").rpartition("/")[2], text
    if not (name and value):
        raise ValueError(f"{text}: NAME=VALUE, or the value alone")
    return name, value


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running server listens, each `host:port`. grpc: empty when it was not said."""

    name: str
    http: str
    grpc: str


def addresses(text: str) -> Addresses:
    """Read `NAME=http://host:port`, `,grpc://host:port` behind it for gRPC. Raises ValueError."""
    name, _, urls = text.partition("=")
    found = {scheme: rest.rstrip("/") for scheme, _, rest in (it.partition("://") for it in urls.split(","))}
    if not name or "http" not in found or set(found) - set(PROTOCOLS) or not all(found.values()):
        raise ValueError(f"{text}: NAME=http://host:port, for gRPC with ,grpc://host:port behind it")
    return Addresses(name, found["http"], found.get("grpc", ""))
