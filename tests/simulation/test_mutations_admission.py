"""What the invariants of places and deferrals notice when it is broken on purpose."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from coordinator import backoff
from coordinator.calls.base import SUCCESS
from coordinator.engine.admission import Admission
from coordinator.engine.drive import Drive
from coordinator.engine.entry import Entry
from coordinator.engine.recovery import Recovery
from coordinator.engine.round_calls import Calls
from coordinator.engine.shelf import Known, Shelf
from coordinator.errors import Busy
from coordinator.model import Branch
from coordinator.patterns import saga
from coordinator.service.rounds import Rounds
from coordinator.store.base import Assign
from tests.simulation.history import ALL_TYPES
from tests.simulation.noticed import assert_noticed
from tests.simulation.twin import TwinStore

Patch = pytest.MonkeyPatch


def _let_go_as(patch: Patch, assign: Callable[[Drive, datetime], Assign]) -> None:
    async def let_go(drive: Drive, until: datetime) -> None:
        await drive._write(assign(drive, until))

    patch.setattr(Drive, "_let_go", let_go)


def a_deferral_doubles_the_interval(patch: Patch) -> None:
    _let_go_as(
        patch,
        lambda drive, until: Assign(
            owner="", next_cron_time=until, next_cron_interval=2 * drive._transaction.next_cron_interval
        ),
    )


def a_deferral_counts_as_a_failed_round(patch: Patch) -> None:
    def counted(drive: Drive, until: datetime) -> Assign:
        failed = backoff.failed_rounds(drive._transaction.ext_data) + 1
        ext_data = backoff.noted(drive._transaction.ext_data, failed=failed, alerted=False)
        return Assign(owner="", next_cron_time=until, ext_data=ext_data)

    _let_go_as(patch, counted)


def a_deferral_forgets_what_succeeded_before(patch: Patch) -> None:
    _let_go_as(patch, lambda _drive, until: Assign(owner="", next_cron_time=until))


def a_driver_that_defers_keeps_the_row(patch: Patch) -> None:
    _let_go_as(patch, lambda _drive, until: Assign(next_cron_time=until))


def recovery_defers_and_keeps_the_owner(patch: Patch) -> None:
    put = TwinStore._put

    def keep(store: TwinStore, row: Any, assign: Assign, *, by: str) -> Any:
        return put(store, row, replace(assign, owner=None) if by == "defer" else assign, by=by)

    patch.setattr(TwinStore, "_put", keep)


def what_is_deferred_is_never_due_again(patch: Patch) -> None:
    patch.setattr(Admission, "defer", lambda *_args, **_named: 5000.0)
    patch.setattr(Shelf, "take", lambda *_args: None)
    patch.setattr(Known, "not_after", lambda _known, until: until)


def a_deferral_passes_over_time_limits(patch: Patch) -> None:
    patch.setattr(Known, "not_after", lambda _known, until: until)


def a_call_without_a_place_counts_as_success(patch: Patch) -> None:
    async def settle(drive: Drive, branch: Branch) -> None:
        drive._settle(branch, SUCCESS, 0.0)
        await drive._let_go(drive._tools.clock.now())

    patch.setattr(Drive, "_defer", settle)


def every_call_is_let_in(patch: Patch) -> None:
    def take(admission: Admission, endpoint: str) -> bool:
        if endpoint:
            admission._at(endpoint).running += 1
        return True

    patch.setattr(Admission, "take", take)


def every_transaction_is_taken_in(patch: Patch) -> None:
    _unbounded(patch, transactions_max=1000)


def payloads_weigh_nothing(patch: Patch) -> None:
    enter = Admission.enter
    patch.setattr(Admission, "enter", lambda admission, _payload_bytes: enter(admission, 0))


def _unbounded(patch: Patch, **bounds: int) -> None:
    init = Admission.__init__

    def wide(admission: Admission, given: Any, **named: Any) -> None:
        init(admission, replace(given, **bounds), **named)

    patch.setattr(Admission, "__init__", wide)


def a_call_that_is_cancelled_keeps_its_place(patch: Patch) -> None:
    leave = Calls._leave

    def forgetful(calls: Calls, endpoint: str, answer: Any) -> None:
        if answer is not None:
            leave(calls, endpoint, answer)

    patch.setattr(Calls, "_leave", forgetful)


def what_recovery_could_not_claim_keeps_its_place(patch: Patch) -> None:
    leave = Entry.leave
    patch.setattr(Entry, "leave", lambda entry: leave(entry) if entry.is_handed_over else None)


def a_claim_compares_nothing(patch: Patch) -> None:
    claim = TwinStore.claim

    async def blind(store: TwinStore, claims: Sequence[Any], *args: Any, **named: Any) -> Any:
        by_id = {row.id: row for row in store.rows.transactions.values() if not row.status.is_final}
        rows = [(one, by_id[one.due.id]) for one in claims if one.due.id in by_id]
        now = [
            replace(one, due=replace(one.due, **{it: getattr(row, it) for it in _COMPARED}))
            for one, row in rows
        ]
        return await claim(store, now, *args, **named)

    patch.setattr(TwinStore, "claim", blind)


_COMPARED = ("status", "owner", "next_cron_time")


def the_shelf_believes_that_nothing_moves(patch: Patch) -> None:
    """What another coordinator took meanwhile is claimed all the same."""
    admit = Recovery._admit

    def stale(recovery: Recovery, known: Known, page: Any) -> None:
        store = recovery._engine.tools.store
        assert isinstance(store, TwinStore)
        row = next(row for row in store.rows.transactions.values() if row.id == known.due.id)
        due = replace(known.due, **{it: getattr(row, it) for it in _COMPARED})
        admit(recovery, known if row.status.is_final else replace(known, due=due), page)

    patch.setattr(Recovery, "_admit", stale)


def an_abort_that_was_stored_is_refused(patch: Patch) -> None:
    async def refusing(_rounds: Rounds, _stored: Any) -> bool:
        raise Busy("full")

    patch.setattr(Rounds, "_drive", refusing)


def a_row_is_driven_whatever_it_says(patch: Patch) -> None:
    order_of = saga.order_of

    def lenient(custom_data: str, concurrent: bool, steps: int) -> saga.Order:
        try:
            return order_of(custom_data, concurrent, steps)
        except ValueError:
            return order_of("", concurrent, steps)

    patch.setattr(saga, "order_of", lenient)


def a_hold_is_read_and_not_obeyed(patch: Patch) -> None:
    patch.setattr(Admission, "hold", lambda *_: None)


@pytest.mark.parametrize(
    ("trans_types", "broken", "noticed"),
    [
        ("saga msg", a_hold_is_read_and_not_obeyed, "after it was held"),
        # a call that was not made is no result
        (ALL_TYPES, a_deferral_doubles_the_interval, "the interval .* became"),
        (ALL_TYPES, a_deferral_counts_as_a_failed_round, "failed rounds"),
        ("saga tcc", a_deferral_forgets_what_succeeded_before, "still . failed rounds"),
        (
            "saga tcc xa msg",
            a_call_without_a_place_counts_as_success,
            "not called|never said|began before",
        ),
        ("tcc xa", an_abort_that_was_stored_is_refused, "though its client was turned away"),
        # bounds
        (ALL_TYPES, every_call_is_let_in, "calls to .* at a time"),
        (ALL_TYPES, every_transaction_is_taken_in, "transactions driven, of"),
        ("saga msg", payloads_weigh_nothing, "bytes driven, of"),
        # places come back
        (ALL_TYPES, a_call_that_is_cancelled_keeps_its_place, "places that did not come back"),
        (ALL_TYPES, what_recovery_could_not_claim_keeps_its_place, "places that did not come back"),
        # one driver, and in the end one for each
        (ALL_TYPES, a_driver_that_defers_keeps_the_row, "still has it"),
        (ALL_TYPES, recovery_defers_and_keeps_the_owner, "still has it"),
        (ALL_TYPES, a_claim_compares_nothing, "claim while"),
        (ALL_TYPES, the_shelf_believes_that_nothing_moves, "claim while"),
        (ALL_TYPES, what_is_deferred_is_never_due_again, "waited for|still .* at the end"),
        ("saga", a_deferral_passes_over_time_limits, "beyond its time limit"),
        # rows of another program
        (ALL_TYPES, a_row_is_driven_whatever_it_says, "though nobody can drive them"),
    ],
)
@pytest.mark.usefixtures("quiet")
def test_a_broken_promise_is_noticed(
    monkeypatch: Patch, trans_types: str, broken: Callable[[Patch], None], noticed: str
) -> None:
    broken(monkeypatch)
    assert_noticed(noticed, trans_types=trans_types)
