"""What users of the client write, for type checkers: it is read by them and never run."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

from pydantic import BaseModel

from coordinator.client import (
    BranchContext,
    Dtm,
    Failure,
    Ongoing,
    Retry,
    Status,
    TransactionPage,
    Workflow,
    Workflows,
    barrier,
    encode_json,
    from_result,
    sync,
    workflow,
)


class Order(BaseModel):
    pears: int
    price: Decimal


@dataclass
class Line:
    order: Order
    at: datetime


@workflow("buy")
async def buy(wf: Workflow, data: dict[str, str]) -> str:
    await wf.saga(
        "http://h/a",
        "http://h/b",
        Line(Order(pears=1, price=Decimal(2)), datetime.now(UTC)),
        headers={"a": "b"},
    )
    return "x"


@workflow("pack")
async def pack(wf: Workflow, order: Order) -> int:
    return order.pears


@workflow("whole")
async def whole(wf: Workflow, data: dict[str, str]) -> list[float]:
    pears: int = await wf.child(pack, Order(pears=1, price=Decimal(2)))
    drawn: list[float] = await wf.run_in_parallel(lambda it: it.random(), lambda it: it.random())
    await wf.sleep(pears)
    if await wf.patched("change") and (await wf.now()).year > 1:
        drawn.append(await wf.do(weigh, retry=Retry(attempts=2), timeout=1.5, name="weigh"))
    return drawn


async def weigh(branch: BranchContext) -> float:
    return 1.5


async def typed(workflows: Workflows) -> None:
    weights: list[float] = await workflows.execute(whole, {"a": "b"}, headers={"a": "b"})
    print(weights)
    await workflows.cancel("g", reason="why")


async def main() -> None:
    async with Dtm(["http://a", "http://b"], encoder=encode_json) as dtm:
        saga = dtm.saga(failure_statuses={422}, wait_result=True)
        saga.add(
            "http://h/a",
            "http://h/b",
            Line(Order(pears=1, price=Decimal(2)), datetime.now(UTC)),
            headers={"x": "y"},
            keep_result=True,
        )
        saga.add("http://h/a", payload=Order(pears=1, price=Decimal(2)))
        saga.add("http://h/a", payload=[uuid4(), Status.FAILED]).add("http://h/a", payload=Decimal(3)).add(
            "http://h/a", payload=datetime.now(UTC)
        )
        saga.add("http://h/a", payload={"id": from_result(0, "$.id")}, compensate_payload=from_result(0))
        try:
            done = await saga.submit()
            kept: bytes = done.results[0]
            print(kept, done.result(0))
        except Failure as failure:
            reason: str = failure.reason
            status: int | None = failure.status
            print(reason, failure.url, failure.branch_id, failure.op, status, failure.raw)
        except Ongoing as ongoing:
            print(ongoing.reason)
        page: TransactionPage = await dtm.list(status=Status.FAILED, created_from=datetime.now(UTC))
        for one in page.transactions:
            why = one.failure
            if why is not None:
                print(why.reason)
            await dtm.retry(one.gid)
            await dtm.stop(one.gid)
        async with dtm.tcc() as tcc:
            await tcc.call_branch({"a": Decimal(1)}, "http://h/a", "", "", headers={"x": "y"})
        answer = await Workflows(dtm, [buy], callback="http://h/w").execute(
            buy, {"a": "b"}, headers={"a": "b"}
        )
        print(answer)


class Connection:
    pass


async def handler(connection: Connection) -> None:
    async def take(given: Connection) -> int:
        return 1

    done: int | None = await barrier(BranchContext("g", "saga", "01", "action"), connection).call(take)
    print(done)


def blocking() -> None:
    with sync.Dtm("http://a,http://b") as dtm:
        dtm.saga(failure_statuses=[422]).add("http://h/a", headers={"a": "b"}).submit()
        for one in dtm.list().transactions:
            dtm.retry(one.gid)


if __name__ == "__main__":
    asyncio.run(main())
    blocking()
