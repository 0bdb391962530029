"""The row that a submit or prepare asks for (PROTOCOL §9)."""

from coordinator.engine.tools import Tools
from coordinator.model import Status, Transaction, TransactionRequest


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
