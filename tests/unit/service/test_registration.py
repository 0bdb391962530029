"""registerBranch: which rows it writes, and when it is refused (PROTOCOL §5)."""

import asyncio
from dataclasses import replace

import pytest

from coordinator.calls.base import SUCCESS, Answer
from coordinator.errors import BranchConflict, Failure, InvalidBranch
from coordinator.model import Branch, BranchRequest, Status
from tests.unit.service.bench import Bench, branch, request, virtually

NONE_PREPARED = r"^no trans with gid: g status: prepared found FAILURE$"


@pytest.mark.parametrize(
    ("registered", "rows"),
    [
        (
            branch("tcc", "0101", b"\x00\xff"),
            [
                ("0101", "cancel", "http://branch/cancel", "prepared"),
                ("0101", "confirm", "http://branch/confirm", "prepared"),
            ],
        ),
        (
            branch("xa", payload=b"\x00\xff"),
            [
                ("01", "rollback", "http://branch/xa", "prepared"),
                ("01", "commit", "http://branch/xa", "prepared"),
            ],
        ),
        (branch("workflow", payload=b"\x00\xff"), [("01", "action", "", "succeed")]),
        (
            branch("workflow", "02", b"\x00\xff", op="business", status="failed"),
            [("02", "business", "", "failed")],
        ),
    ],
)
@virtually
async def test_each_type_writes_its_rows(
    registered: BranchRequest, rows: list[tuple[str, str, str, str]]
) -> None:
    """PROTOCOL §5: their order, ops, urls and payload."""
    bench = Bench()
    await bench.transactions.prepare(request(registered.trans_type))
    await bench.branches.register(registered)
    stored = bench.rows.branches["g"]
    assert [(b.branch_id, b.op, b.url, b.status) for b in stored] == rows
    assert {b.payload for b in stored} == {b"\x00\xff"}


@pytest.mark.parametrize("trans_type", ["tcc", "xa", "workflow"])
@virtually
async def test_the_identical_branch_again_is_success(trans_type: str) -> None:
    """PROTOCOL §5 (better)."""
    bench = Bench()
    await bench.transactions.prepare(request(trans_type))
    await bench.branches.register(branch(trans_type))
    before = bench.branch_rows
    await asyncio.gather(*(bench.branches.register(branch(trans_type)) for _ in range(5)))
    assert bench.branch_rows == before


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (branch("tcc"), branch("tcc", payload=b"other")),
        (branch("tcc"), branch("tcc", confirm="http://branch/other")),
        (branch("xa"), branch("xa", url="http://branch/other")),
        (branch("workflow"), branch("workflow", status="failed")),
        (branch("workflow"), branch("workflow", payload=b"other")),
    ],
)
@virtually
async def test_the_same_branch_with_other_content_is_an_error(
    first: BranchRequest, second: BranchRequest
) -> None:
    """PROTOCOL §5 (better): nothing is changed; §2: gRPC Unknown."""
    bench = Bench()
    await bench.transactions.prepare(request(first.trans_type))
    await bench.branches.register(first)
    before = bench.rows.branches["g"]
    with pytest.raises(
        BranchConflict, match="branch 01 of gid 'g' is registered already, and differs"
    ) as told:
        await bench.branches.register(second)
    assert bench.rows.branches["g"] == before
    assert (told.value.http_status, told.value.grpc_status) == (500, 2)


@pytest.mark.parametrize("trans_type", ["tcc", "xa", "workflow"])
@virtually
async def test_an_unknown_gid_is_failure(trans_type: str) -> None:
    """PROTOCOL §2, §5: registerBranch says FAILURE where other calls say not found."""
    bench = Bench()
    with pytest.raises(Failure, match=NONE_PREPARED):
        await bench.branches.register(branch(trans_type))
    assert bench.rows.branches == {}


@pytest.mark.parametrize("trans_type", ["tcc", "xa"])
@pytest.mark.parametrize("status", [Status.SUBMITTED, Status.ABORTING, Status.SUCCEED, Status.FAILED])
@virtually
async def test_only_a_prepared_transaction_takes_branches(trans_type: str, status: Status) -> None:
    """PROTOCOL §5."""
    bench = Bench()
    await bench.put(trans_type, status)
    before = bench.branch_rows
    with pytest.raises(Failure, match=NONE_PREPARED):
        await bench.branches.register(branch(trans_type, "03"))
    assert bench.branch_rows == before


@pytest.mark.parametrize("status", [Status.SUCCEED, Status.FAILED])
@virtually
async def test_an_ended_workflow_takes_no_progress(status: Status) -> None:
    """PROTOCOL §5."""
    bench = Bench()
    await bench.put("workflow", status)
    with pytest.raises(Failure, match=NONE_PREPARED):
        await bench.branches.register(branch("workflow", "03"))


@pytest.mark.parametrize("stored", ["saga", "msg", "tcc", "xa", "workflow"])
@pytest.mark.parametrize("asked", ["tcc", "xa", "workflow"])
@virtually
async def test_a_transaction_of_another_type_is_failure(stored: str, asked: str) -> None:
    """PROTOCOL §5 (better): the request's trans_type is not believed."""
    bench = Bench()
    await bench.put(stored, Status.PREPARED)
    before = bench.branch_rows
    if stored == asked:
        await bench.branches.register(branch(asked, "03"))
        return
    says = f"gid 'g' is of trans type '{stored}', not '{asked}', cannot register. FAILURE"
    with pytest.raises(Failure, match=says):
        await bench.branches.register(branch(asked, "03"))
    assert bench.branch_rows == before


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (replace(branch(), gid=""), "no gid specified"),
        (replace(branch(), trans_type="saga"), "unknow trans type: saga"),  # §2: the reference's spelling
        (replace(branch(), trans_type=""), "unknow trans type: "),
        (branch(branch_id=""), "branch_id is missing"),
        (branch(branch_id="x" * 129), "branch_id has 129 characters"),
        (branch(branch_id="0\n1"), "control character"),
        (branch(payload=b"x" * 65_536), "data has 65536 bytes"),
        (branch(confirm="http://"), "confirm 'http://'"),
        (branch("xa", url="x" * 1025), "url has 1025 characters"),
        (branch("workflow", op=""), "op is missing"),
        (branch("workflow", status="done"), "status must be one of prepared, succeed, failed, not 'done'"),
    ],
)
@virtually
async def test_a_branch_that_cannot_be_stored_is_refused(bad: BranchRequest, says: str) -> None:
    """PROTOCOL §2, §14: a clear error that names the field; gRPC Unknown; nothing half written."""
    bench = Bench()
    await bench.transactions.prepare(request("workflow" if bad.trans_type == "workflow" else "tcc"))
    with pytest.raises(InvalidBranch, match=says) as told:
        await bench.branches.register(bad)
    assert told.value.grpc_status == 2
    assert bench.branch_rows == []


@pytest.mark.parametrize(("trans_type", "op"), [("tcc", "cancel"), ("xa", "rollback")])
@virtually
async def test_a_branch_registered_just_before_the_abort_is_rolled_back(trans_type: str, op: str) -> None:
    """PROTOCOL §5, §7: of registrations that race with an abort, each acknowledged one is undone."""

    async def slow(_branch: Branch) -> Answer:
        await asyncio.sleep(0.01)
        return SUCCESS

    for abort_at in range(8):
        bench = Bench(slow)
        await bench.transactions.prepare(request(trans_type))
        racing: list[asyncio.Task[None]] = []
        for number in range(8):
            if number == abort_at:
                aborting = bench.transactions.abort(request(trans_type, wait_result=True))
                racing.append(asyncio.create_task(aborting))
            name = f"{number:02d}"
            racing.append(asyncio.create_task(bench.branches.register(branch(trans_type, name))))
        answers = await asyncio.gather(*racing, return_exceptions=True)
        del answers[abort_at]
        acknowledged = {f"{number:02d}" for number, answer in enumerate(answers) if answer is None}
        assert all(answer is None or isinstance(answer, Failure) for answer in answers)
        undone = {name for name, of, status in bench.branch_rows if of == op and status == "succeed"}
        assert acknowledged == undone
        assert bench.row.status is Status.FAILED
