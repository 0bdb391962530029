"""The row that a submit or prepare asks for (PROTOCOL §9)."""

from dataclasses import replace
from typing import Final

from coordinator.engine.tools import Tools
from coordinator.model import Options, Status, Transaction, TransactionRequest

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
