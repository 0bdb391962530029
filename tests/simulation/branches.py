"""Simulated branches: slow, hanging, losing answers, refusing, by their seed and their endpoint's."""

import asyncio
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import orjson

from coordinator.calls.base import Answer
from coordinator.model import Branch, Op, Result, Transaction, TransType
from coordinator.patterns.msg import QUERY_BRANCH_ID
from coordinator.results import keeps
from tests.simulation.pressure import SLOWEST_SECONDS, endpoint_of
from tests.simulation.seen import Call
from tests.simulation.watch import Watch

if TYPE_CHECKING:
    from tests.simulation.world import World

_PAUSE_SECONDS = 40.0


class SimulatedBranches:
    """One coordinator's calls, and now and then a long pause of its driver after one.

    What an action has said once it says for ever: that is what a barrier gives.

    A message's query is answered by what its sender's local transaction did, and decides it where that is
    still open. A workflow's call back makes its client go on.
    """

    def __init__(self, world: "World", random: Random, name: str, watch: Watch, *, healthy: bool) -> None:
        self._world = world
        self._random = random
        self._name = name
        self._watch = watch
        self.healthy = healthy

    def endpoint(self, transaction: Transaction, branch: Branch) -> str:
        return endpoint_of(branch)

    async def call(self, transaction: Transaction, branch: Branch, *, timeout: float) -> Answer:
        loop = asyncio.get_running_loop()
        seen = self._world.seen
        if self._name in seen.dead:
            await asyncio.Event().wait()
        endpoint = endpoint_of(branch)
        call = Call(branch.gid, branch.key, transaction.owner, self._name, endpoint, loop.time())
        index = len(seen.calls)
        seen.calls.append(call)
        result: Result | None = None
        with self._watch.calling(endpoint):
            try:
                async with asyncio.timeout(timeout):
                    result = await self._answer(transaction, branch)
            except TimeoutError:
                result = Result.UNKNOWN
            finally:
                seen.calls[index] = replace(call, ended=loop.time(), result=result)
            if not self.healthy and self._random.random() < 0.02:
                seen.marks["paused"] += 1  # as a process that is not scheduled: its lease runs out meanwhile
                await asyncio.sleep(_PAUSE_SECONDS * (0.5 + self._random.random()))
        seen.calls[index] = replace(seen.calls[index], returned=True)
        seen.payloads.setdefault((branch.gid, branch.key), set()).add(branch.payload)
        if result is Result.SUCCESS and keeps(branch.url):
            return Answer(result, body=answer_of(branch.branch_id, branch.payload))
        status = 500 if result is Result.UNKNOWN and self._random.random() < 0.5 else None
        return Answer(result, f"{branch.key} said {result}", http_status=status)

    async def close(self) -> None:
        pass

    async def _answer(self, transaction: Transaction, branch: Branch) -> Result:
        drawn = self._random.random()
        marks = self._world.seen.marks
        endpoint = self._world.pressure.endpoints[endpoint_of(branch)]
        trouble = None if self.healthy else endpoint.trouble(asyncio.get_running_loop().time())
        if trouble is not None and trouble.hangs:
            marks["endpoint hung"] += 1
            await asyncio.Event().wait()
        slowest = SLOWEST_SECONDS if self.healthy else endpoint.slowest
        await asyncio.sleep(self._random.random() * slowest)
        if trouble is not None:
            return Result.UNKNOWN
        if not self.healthy and drawn < 0.05:
            marks["hung"] += 1
            await asyncio.Event().wait()
        if not self.healthy and drawn < 0.12:
            return Result.ONGOING
        if not self.healthy and drawn < 0.22:
            return Result.UNKNOWN
        if transaction.trans_type == TransType.WORKFLOW:
            result = await self._resume(branch)
        elif branch.branch_id == QUERY_BRANCH_ID:
            result = self._asked(branch.gid)
        else:
            result = self._fate(transaction.trans_type, branch)
        if not self.healthy and drawn < 0.3:
            marks["answer lost"] += 1
            return Result.UNKNOWN
        must_succeed = branch.branch_id != QUERY_BRANCH_ID and not _may_refuse(transaction.trans_type, branch)
        if not self.healthy and must_succeed and drawn < 0.4:
            return Result.FAILURE  # for the moment: it is asked again
        return result

    def _fate(self, trans_type: str, branch: Branch) -> Result:
        fates = self._world.fates
        key = (branch.gid, branch.key)
        if key not in fates:
            fails = _may_refuse(trans_type, branch) and self._random.random() < 0.15
            fates[key] = Result.FAILURE if fails else Result.SUCCESS
        return fates[key]

    def _asked(self, gid: str) -> Result:
        """The barrier's query-prepared: a local transaction that has not committed never will (§12)."""
        committed = self._world.stories[gid].decide_local(committed=False)
        self._world.seen.marks[f"queried: {'committed' if committed else 'not committed'}"] += 1
        return Result.SUCCESS if committed else Result.FAILURE

    async def _resume(self, branch: Branch) -> Result:
        """The client goes on by itself, also when its coordinator does not wait any longer."""
        resumed = self._world.resume(branch.gid, healthy=self.healthy)
        await asyncio.wait({resumed})
        return Result.SUCCESS if resumed.result() else Result.UNKNOWN


def answer_of(branch_id: str, payload: bytes) -> bytes:
    """What the action of a step answers whose result is kept: it shows what it was given."""
    return orjson.dumps({"by": branch_id, "got": orjson.loads(payload)})


def _may_refuse(trans_type: str, branch: Branch) -> bool:
    """Only a saga's action has a FAILURE that lasts; all else must succeed in the end."""
    return trans_type == TransType.SAGA and branch.op == Op.ACTION
