"""Who calls `local://name`: the engine, as it calls every branch, and the client, for a try or a workflow."""

from coordinator.attempt import Kind
from coordinator.calls.answers import unknown
from coordinator.calls.base import Answer, Caller
from coordinator.client import BranchAnswer, BranchContext, InvalidUse, LocalCall
from coordinator.client.transport.answers import Result as Said
from coordinator.client.transport.answers import raise_for_branch
from coordinator.client.transport.branch_calls import BranchCall, BranchCaller
from coordinator.discovery.local import LOCAL, function_of, is_local
from coordinator.embedded.functions import Functions
from coordinator.model import Branch, Result, Transaction
from coordinator.results import keeps, plain_url

_MEANINGS = {Result.FAILURE: Said.FAILURE, Result.ONGOING: Said.ONGOING, Result.UNKNOWN: Said.ERROR}


class LocalCaller:
    """The engine's Caller: functions here, all else by `inner`."""

    def __init__(self, inner: Caller, functions: Functions) -> None:
        self._inner = inner
        self._functions = functions

    def endpoint(self, transaction: Transaction, branch: Branch) -> str:
        """See Caller; a function is an endpoint."""
        url = plain_url(branch.url)
        if not is_local(url):
            return self._inner.endpoint(transaction, branch)
        return "" if self._functions.problem(url) else url

    async def call(self, transaction: Transaction, branch: Branch, *, timeout: float) -> Answer:
        """See Caller."""
        url = plain_url(branch.url)
        if not is_local(url):
            return await self._inner.call(transaction, branch, timeout=timeout)
        if problem := self._functions.problem(url):
            return unknown(f"the url '{url}' {problem}", Kind.URL)
        context = BranchContext(branch.gid, transaction.trans_type, branch.branch_id, branch.op)
        headers = transaction.options.headers_for(branch.branch_id)
        call = LocalCall(context, branch.payload, dict(headers))
        return await self._functions.run(function_of(url), call, timeout=timeout, keep=keeps(branch.url))

    async def close(self) -> None:
        """See Caller; the functions have an owner of their own."""
        await self._inner.close()


class LocalBranches:
    """The client's own calls: functions here, all else over the network."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._others = BranchCaller()

    async def call(self, call: BranchCall, timeout: float) -> BranchAnswer:
        """See Branches. Raises InvalidUse for a function that there is not."""
        if not is_local(call.url):
            return await self._others.call(call, timeout)
        if problem := self._functions.problem(call.url):
            raise InvalidUse(f"the url '{call.url}' {problem}", gid=call.gid)
        context = BranchContext(
            call.gid, call.trans_type, call.branch_id, call.op, call.more.get("phase2_url", "")
        )
        given = LocalCall(context, call.payload, dict(call.headers))
        name = call.url.removeprefix(LOCAL)
        answer = await self._functions.run(name, given, timeout=timeout, keep=True)
        if answer.result is Result.SUCCESS:
            return BranchAnswer(answer.body or b"")
        said = call.said(answer.status or 0, answer.text)
        raise_for_branch(_MEANINGS[answer.result], answer.text, call.gid, said)
        raise AssertionError("raise_for_branch returns only for success")

    async def close(self) -> None:
        """See Branches."""
        await self._others.close()
