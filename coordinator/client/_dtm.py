"""`Dtm`: one connection to a coordinator, and everything that begins with it."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Final, Self, TypeVar
from uuid import uuid4

from coordinator.client._answers import already_final
from coordinator.client._errors import Failure, InvalidUse, Unreachable
from coordinator.client._query import TransactionView, read_query
from coordinator.client._saga import Saga
from coordinator.client._transport import ConnectionProblem, Transport, check_url, open_transport
from coordinator.model import Options, Status, TransactionRequest

T = TypeVar("T")

FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 1.0


class Dtm:
    """A coordinator, as an async context manager with one pooled connection.

    url: `http://host:36789` or `grpc://host:36790`; the methods are the same, and so are the errors. Branches
    are called with the same protocol unless their url says otherwise. timeout: seconds for one operation, all
    attempts included. A submit with wait_result gets its request_timeout on top. A coordinator that does not
    answer is asked again within that time, with growing pauses: submitting one gid twice is safe. Raises
    InvalidUse for a url of another scheme.

    Example:
        async with Dtm("http://localhost:36789") as dtm:
            await dtm.saga().add("http://bank/TransOut", "http://bank/TransOutRevert", {"amount":
            30}).submit()
    """

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        check_url(url)
        if timeout <= 0:
            raise InvalidUse(f"timeout={timeout}: give the seconds that one operation may take")
        self.url = url
        self.timeout = timeout
        self._transport: Transport | None = None
        self._random = random.Random()

    async def __aenter__(self) -> Self:
        if self._transport is None:
            self._transport = open_transport(self.url)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    def saga(
        self,
        gid: str | None = None,
        *,
        wait_result: bool = False,
        timeout_to_fail: int = 0,
        request_timeout: int = 0,
        retry_interval: int = 0,
        retry_limit: int = 0,
        concurrent: bool = False,
        branch_headers: Mapping[str, str] | None = None,
    ) -> Saga:
        """Begin a saga; nothing is sent before its `submit` (PROTOCOL §6).

        gid: a fresh one when not given. wait_result: `submit` returns when the saga has ended.
        timeout_to_fail: seconds after which it is rolled back; 0: never. request_timeout: seconds for one
        branch call. retry_interval: seconds before the first repeat. retry_limit: repeats within a round
        before it is rolled back; 0: repeated for ever. concurrent: all steps at once, as far as their `after`
        allows. branch_headers: sent with every branch call. Times of 0 mean the coordinator's own. Raises
        InvalidUse for negative ones.
        """
        numbers = {
            "timeout_to_fail": timeout_to_fail,
            "request_timeout": request_timeout,
            "retry_interval": retry_interval,
            "retry_limit": retry_limit,
        }
        for name, value in numbers.items():
            if value < 0:
                raise InvalidUse(f"{name}={value}: give a number that is not negative")
        options = Options(
            wait_result=wait_result,
            concurrent=concurrent,
            branch_headers=dict(branch_headers or {}),
            **numbers,
        )
        return Saga(gid or make_gid(), self._open().protocol, options, self._submit)

    async def new_gid(self) -> str:
        """Return a gid made by the coordinator. Sagas do not need it: they make their own.

        Raises Unreachable.
        """
        return await self._answer(
            self._open().new_gid,
            _Attempts(self.timeout, self._random),
            lambda problem: Unreachable(f"no gid: {problem}. Is the coordinator running at {self.url}?"),
        )

    async def query(self, gid: str) -> TransactionView | None:
        """Return what is stored of a transaction, None when the gid is unknown. HTTP only (PROTOCOL §3).

        Raises Unreachable, InvalidUse over gRPC, DtmError.
        """
        transport = self._open()
        answer = await self._answer(
            lambda seconds: transport.query(gid, seconds),
            _Attempts(self.timeout, self._random),
            lambda problem: Unreachable(f"query of {gid}: {problem}", gid=gid),
        )
        return read_query(answer, gid)

    async def _submit(self, request: TransactionRequest) -> Status:
        """Submit until an answer comes or time is up; see Saga.submit for what it raises."""
        transport = self._open()
        options = request.options
        extra_seconds = options.request_timeout if options.wait_result else 0
        attempts = _Attempts(self.timeout + extra_seconds, self._random)
        try:
            await self._answer(
                lambda seconds: transport.submit(request, seconds),
                attempts,
                lambda problem: _unreachable(request.gid, problem, may_exist=attempts.anything_sent),
            )
        except Failure as failure:
            # An attempt whose answer was lost may have been the whole story: then the gid is final already.
            if attempts.anything_sent and already_final(failure) is Status.SUCCEED:
                return Status.SUCCEED
            raise
        return Status.SUCCEED if options.wait_result else Status.SUBMITTED

    async def _answer(
        self,
        ask: Callable[[float], Awaitable[T]],
        attempts: "_Attempts",
        explain: Callable[[ConnectionProblem], Unreachable],
    ) -> T:
        """Ask, giving the seconds left, until there is an answer or no time for another attempt."""
        while True:
            try:
                return await ask(attempts.seconds_left())
            except ConnectionProblem as problem:
                if not await attempts.pause_after(problem):
                    raise explain(problem) from problem

    def _open(self) -> Transport:
        if self._transport is None:
            raise InvalidUse(f"this Dtm is not open: write `async with Dtm({self.url!r}) as dtm:` around it")
        return self._transport


class _Attempts:
    """The bound of one operation: how long is left, how long to pause, and whether anything was ever sent."""

    def __init__(self, seconds: float, source: random.Random) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + seconds
        self._random = source
        self._pause = FIRST_PAUSE_SECONDS
        self.anything_sent = False

    def seconds_left(self) -> float:
        # A last attempt that starts exactly at the deadline still gets a moment, never a negative time-out.
        return max(self._deadline - self._loop.time(), 0.001)

    async def pause_after(self, problem: ConnectionProblem) -> bool:
        """Wait before the next attempt; False when there is no time for one."""
        self.anything_sent = self.anything_sent or problem.sent
        pause = self._pause * self._random.uniform(0.5, 1.0)
        if self._loop.time() + pause >= self._deadline:
            return False
        await asyncio.sleep(pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        return True


def _unreachable(gid: str, problem: ConnectionProblem, *, may_exist: bool) -> Unreachable:
    if may_exist:
        known = "the transaction may or may not exist"
        advice = "submit the same gid again, which is safe, or ask query"
    else:
        known = "nothing was sent, the transaction does not exist"
        advice = "check the address and submit again"
    return Unreachable(f"{known}, gid {gid}: {problem}; {advice}", gid=gid, may_exist=may_exist)


def make_gid() -> str:
    """Return a fresh gid, in lower case because MySQL compares gids whatever their case."""
    return uuid4().hex
