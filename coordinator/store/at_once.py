"""A batch that needs no look before it: each work says what it expects, and the database compares it itself.

So it is one round trip, where the locking read makes two. What is not as expected is written by nobody, and
the batch is looked at (coordinator.store.batch). Pure.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from coordinator.store.base import Changed, Moved
from coordinator.store.batch import Outcome, Work
from coordinator.store.gathered import Gathered, Insertion, Update
from coordinator.store.takeovers import Recalled, Takeover


class Fence(NamedTuple):
    """How a global row must be stored for its change to stand."""

    gid: str
    status: str
    owner: str | None  # None: any
    trans_type: str  # "": any
    due: str = ""  # next_cron_time as stored; "": any
    branches: int | None = None  # how many there are; None: any number


class AtOnce(Protocol):
    """A batch that is compared while it is written, in one round trip: how a database is asked.

    counts: whether it compares how many branches there are.
    """

    counts: bool

    def built(self, fences: Sequence[Fence], gathered: Gathered, now: str, latest: datetime) -> Any:
        """What is sent; None for what cannot be written so.

        latest: by the database's clock. What comes later, from a connection that was given up and asked again
        on another, is written by nobody.
        """
        ...

    async def sent(self, connection: Any, built: Any, /) -> bool:
        """Write and commit on the driver's connection, which is in no transaction.

        False, having written nothing: a row is not as expected, is held by somebody else, or exists already.
        """
        ...


class Collected:
    """A cursor that keeps what it is given."""

    def __init__(self) -> None:
        self.statements: list[Any] = []
        self.parameters: list[Any] = []

    def execute(self, statement: Any, parameters: Sequence[Any] = (), /) -> None:
        """Keep one more statement, and its parameters."""
        self.statements.append(statement)
        self.parameters.extend(parameters)

    def executemany(self, statement: str, parameters: Any, /) -> None:
        """Nothing of a batch runs so."""
        raise NotImplementedError

    def fetchall(self) -> Sequence[Any]:
        """Nothing of a batch is read."""
        raise NotImplementedError


class AsExpected(NamedTuple):
    """A batch whose works all stand if the fences do."""

    fences: list[Fence]
    gathered: Gathered
    outcomes: list[Outcome]


def without_a_look(works: Sequence[Work]) -> AsExpected | None:
    """What must be stored for all these works to stand, and what is written then; None where one must read.

    An insertion expects that no row of its gid exists, which the unique key holds.
    """
    fences: list[Fence] = []
    gathered = Gathered()
    outcomes: list[Outcome] = []
    for work in works:
        match work:
            case Insertion():
                gathered.add_insertion(work)
                outcomes.append(Changed.APPLIED)
            case Update(gid, change) if len(change.expected) == 1:
                [status] = change.expected
                fences.append(Fence(gid, status.value, change.owner, change.trans_type))
                gathered.add_update(work, work.branch_rows)
                outcomes.append(Changed.APPLIED)
            case Takeover(gid, move, recalled=Recalled(status, due, branches, values, after)):
                fences.append(Fence(gid, status, None, move.trans_type, due, branches))
                gathered.assign(gid, values)
                outcomes.append(Moved(Changed.APPLIED, after))
            case _:
                return None
    return AsExpected(fences, gathered, outcomes)
