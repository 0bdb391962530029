"""The row that a submit or prepare asks for (PROTOCOL §9)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from coordinator.engine.tools import Tools
from coordinator.model import Options, Status, Transaction, TransactionRequest, TransType
from coordinator.patterns import msg
from coordinator.service.validate import check_custom_data
from coordinator.store.base import Assign, Stored

_OPTIONS: Final = tuple(Options.__dataclass_fields__)


def submitted_options(prepared: Options, request: TransactionRequest) -> Options:
    """The options of a prepared transaction after this submit: what it does not give stays (PROTOCOL §5).

    An empty map gives nothing. wait_result belongs to the call.
    """
    given = request.given
    values = {
        name: value
        for name in _OPTIONS
        if (value := getattr(request.options, name)) or (given is not None and name in given)
    }
    if not request.options.branch_headers:
        values.pop("branch_headers", None)
    return replace(prepared, **values | {"wait_result": request.options.wait_result})


def submission(
    tools: Tools, request: TransactionRequest, owner: str, now: datetime
) -> Callable[[Stored], Assign]:
    """What turns a prepared transaction into a submitted one: what the submit gives counts (PROTOCOL §5).

    The function raises Invalid where the custom_data cannot be run by.
    """

    def assign(stored: Stored) -> Assign:
        prepared, timing = stored.transaction, tools.timing
        options = submitted_options(prepared.options, request)
        custom_data = request.custom_data or prepared.custom_data
        steps = len({row.branch_id for row in stored.branches})
        check_custom_data(request.trans_type, custom_data, options, steps)
        if request.trans_type == TransType.MSG:
            waited = (now - prepared.create_time).total_seconds()
            custom_data = msg.delayed_further(custom_data, waited)
        return Assign(
            status=Status.SUBMITTED,
            owner=owner,
            options=options,
            custom_data=custom_data,
            next_cron_interval=timing.first_interval(options),
            next_cron_time=timing.lease_end(options, now),
        )

    return assign


def new_transaction(
    tools: Tools, request: TransactionRequest, status: Status, owner: str = ""
) -> Transaction:
    """Return the row as it is inserted now.

    owner: of what is submitted, a fresh token; it fences its driver, and tells a repeated insertion from
    another's. What is prepared has none: nobody drives it before its client has had its time, and to prepare
    once more is success whoever did it first.
    """
    now, timing = tools.clock.now(), tools.timing
    if status is Status.PREPARED:
        due = timing.first_look(request.trans_type, request.options, now)
    else:
        due = timing.lease_end(request.options, now)
    return Transaction(
        gid=request.gid,
        trans_type=request.trans_type,
        status=status,
        protocol=request.protocol,
        query_prepared=request.query_prepared,
        options=request.options,
        custom_data=request.custom_data,
        create_time=now,
        update_time=now,
        next_cron_interval=timing.first_interval(request.options),
        next_cron_time=due,
        owner=owner,
        ext_data=tools.tracing.ext_data(),
    )
