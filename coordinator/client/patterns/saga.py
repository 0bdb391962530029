"""The saga builder: steps that are done one after the other, or undone (PROTOCOL §6)."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from coordinator.client.errors import InvalidUse
from coordinator.client.transport.base import Operation
from coordinator.client.transport.checks import (
    check_flag,
    check_headers,
    check_not_sent,
    check_room_for_step,
    check_url,
    wrong,
)
from coordinator.client.transport.coordinator import Coordinator
from coordinator.client.transport.payload import Payload, encode_step
from coordinator.client.transport.step_results import taken_apart
from coordinator.client.transport.submitted import Submitted, submitted
from coordinator.model import Options, Place, Step, TransactionRequest, TransType


class Saga:
    """A saga in the making (PROTOCOL §6); made by `Dtm.saga`.

    Example:
        saga = dtm.saga(wait_result=True)
        saga.add(f"{bank}/TransOut", f"{bank}/TransOutRevert", {"amount": 30})
        saga.add(f"{bank}/TransIn", f"{bank}/TransInRevert", {"amount": 30})
        await saga.submit()
    """

    def __init__(self, coordinator: Coordinator, gid: str, options: Options) -> None:
        self.gid = gid
        self._coordinator = coordinator
        self._options = options
        self._steps: list[Step] = []
        self._payloads: list[bytes] = []
        self._orders: dict[int, list[int]] = {}
        self._is_sent = False

    def add(
        self,
        action: str,
        compensate: str = "",
        payload: Payload = None,
        *,
        after: Iterable[int] = (),
        headers: Mapping[str, str] | None = None,
        keep_result: bool = False,
        compensate_payload: Payload = None,
    ) -> "Saga":
        """Append a step and return the saga, so that calls can be chained.

        action, compensate: urls as §10 writes them; an empty one counts as success. payload: given to both,
        see `encode_json`. after: numbers of earlier steps, counted from 0, that must have succeeded first;
        they matter with `concurrent=True`, since without it a step waits for the one before it anyway.
        headers: sent with these two calls alone, before branch_headers.
        keep_result: keep what the action answers, at most 16,384 bytes, for `from_result` in later payloads
        and for `Submitted.results`. compensate_payload: what the compensation is given instead of payload;
        it may use this step's own result, which is null where the action may not have been done.
        What headers, results and compensate_payload need only our own coordinator has: submit raises
        InvalidUse for another. Raises InvalidUse for a url that cannot be called, a payload that cannot be
        sent, a step that is not there yet or keeps nothing, and when the saga has been submitted.
        """
        number, protocol = len(self._steps), self._coordinator.protocol
        check_not_sent(self._is_sent, "saga", "step", self.gid)
        check_room_for_step(number, self.gid)
        check_url("action", action, protocol, may_be_empty=True)
        check_url("compensate", compensate, protocol, may_be_empty=True)
        if headers:
            check_headers("headers", headers, protocol)
        check_flag("keep_result", keep_result)
        if keep_result and not action:
            raise InvalidUse(f"step {number} has no action, and so no result to keep", gid=self.gid)
        wanted = _numbers(after, number)
        encoded, places = self._encoded(payload, number, action)
        undo, undo_places = None, places
        if compensate_payload is not None:
            undo, undo_places = self._encoded(compensate_payload, number, compensate)
            _check_text(undo, number)
        used = {place.step for place in (*places, *undo_places)}
        own = {number} if keep_result and compensate_payload is not None else set()
        self._check_kept({place.step for place in places} | used - own, number)
        if self._options.concurrent and used - own:
            wanted = sorted({*wanted, *used - own})
        own_places = undo_places if compensate_payload is not None else ()
        kept = dict(headers) if headers else None
        self._steps.append(Step(action, compensate, kept, keep_result, places, undo, own_places))
        self._payloads.append(encoded)
        if wanted:
            self._orders[number] = wanted
        return self

    def _encoded(self, payload: Payload, number: int, url: str) -> tuple[bytes, tuple[Place, ...]]:
        plain, places = taken_apart(payload)
        return encode_step(self._coordinator.encode, plain, number, url, self.gid), places

    def _check_kept(self, used: Iterable[int], number: int) -> None:
        for step in sorted(used):
            if step >= number:
                raise InvalidUse(
                    f"step {number} cannot use the result of step {step}: only those of earlier steps, and"
                    " its compensate_payload that of its own",
                    gid=self.gid,
                )
            if not self._steps[step].keep_result:
                raise InvalidUse(
                    f"step {number} uses the result of step {step}: add that with keep_result=True",
                    gid=self.gid,
                )

    async def submit(self) -> Submitted:
        """Hand the saga in. Safe to call again with the same gid: the stored one counts, and is driven once.

        Without wait_result: returns once the saga is stored. With it: returns when all steps have succeeded,
        with what those with `keep_result` answered; raises Failure (with the rollback reason) when it is
        rolled back or being rolled back, and Ongoing when it is stored but not done in time. Raises
        Unreachable when no answer came (its `may_exist` says whether the saga may be stored), DtmError with
        the coordinator's answer when it could not take the saga.
        """
        self._is_sent = True
        results = await self._coordinator.operate(Operation.SUBMIT, self._request())
        return submitted(self.gid, self._options, results)

    def _request(self) -> TransactionRequest:
        return TransactionRequest(
            gid=self.gid,
            trans_type=TransType.SAGA,
            steps=tuple(self._steps),
            payloads=tuple(self._payloads),
            protocol=self._coordinator.protocol,
            options=self._options,
            custom_data=self._custom_data(),
        )

    def _custom_data(self) -> str:
        # Over gRPC `concurrent` travels nowhere else, and every coordinator looks for it here (§4, §6).
        if not self._options.concurrent and not self._orders:
            return ""
        orders = {str(number): earlier for number, earlier in self._orders.items()}
        return orjson.dumps({"concurrent": self._options.concurrent, "orders": orders}).decode()


def _check_text(payload: bytes, number: int) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise InvalidUse(f"step {number}: a compensate_payload must be UTF-8 ({error})") from error


def _numbers(after: Any, number: int) -> list[int]:
    """The earlier steps that step `number` waits for. Raises InvalidUse."""
    if isinstance(after, (int, str)) or not isinstance(after, Iterable):
        raise wrong("after", after, "give the numbers of earlier steps, such as [0]")
    given = list(after)
    if any(not isinstance(one, int) or isinstance(one, bool) for one in given):
        raise wrong("after", given, "the numbers of steps are ints, counted from 0")
    wanted = sorted(set(given))
    if unknown := [earlier for earlier in wanted if not 0 <= earlier < number]:
        raise InvalidUse(
            f"step {number} cannot come after {unknown}: add those steps before it, counted from 0"
        )
    return wanted
