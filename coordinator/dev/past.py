"""What has happened so far: real transactions through the real engine, in hours that pass in a second."""

import base64
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from coordinator.access.audit import Actor
from coordinator.dev.services import Services
from coordinator.explain.actions import Action
from coordinator.model import BranchRequest, Options, Status, Step, TransactionRequest, TransType
from coordinator.service.operate import Wish
from coordinator.testing.inside import Inside

ANN: Final = Actor("ann", "console", "10.0.4.17")
BEN: Final = Actor("ben", "command", "10.0.4.23")
NO_OPTIONS: Final = Options()
PAYLOAD: Final = {"customer": "c-2041", "amount": 30, "currency": "EUR"}


class Past:
    """Where examples are made. inside: a coordinator whose time is moved; services: whom it calls.

    own_place: `host:port` of the coordinator that will run.
    """

    def __init__(self, inside: Inside, services: Services, own_place: str) -> None:
        self._inside = inside
        self.services = services
        self.own_place = own_place

    @property
    def now(self) -> datetime:
        """Of the past, aware."""
        return self._inside.clock.now()

    async def until(self, moment: datetime) -> None:
        """Let time pass until then: what becomes due on the way is done."""
        await self._inside.travel((moment - self.now).total_seconds())

    async def saga(
        self,
        gid: str,
        *steps: tuple[str, str] | str,
        payloads: Iterable[Any] = (),
        options: Options = NO_OPTIONS,
        order: Mapping[int, list[int]] | None = None,
    ) -> None:
        """Submit one. steps: `(action, compensation)`, or a url whose compensation is `url/undo`.

        payloads: JSON, or bytes as they are; what is missing is PAYLOAD.
        """
        given = list(payloads)
        given += [PAYLOAD] * (len(steps) - len(given))
        both = [(step, f"{step}/undo") if isinstance(step, str) else step for step in steps]
        custom = {"orders": order, "concurrent": True} if order else None
        await self._submit(
            TransactionRequest(
                gid,
                TransType.SAGA,
                tuple(Step(action, undo) for action, undo in both),
                tuple(it if isinstance(it, bytes) else orjson.dumps(it) for it in given),
                options=options,
                custom_data=_json(custom),
            )
        )

    async def message(
        self, gid: str, *actions: str, delay: int = 0, asks: str = "", options: Options = NO_OPTIONS
    ) -> None:
        """Submit one; with a url to ask (`asks`) prepare it alone, as if its sender had died then."""
        request = TransactionRequest(
            gid,
            TransType.MSG,
            tuple(Step(action) for action in actions),
            (orjson.dumps(PAYLOAD),) * len(actions),
            query_prepared=asks,
            options=options,
            custom_data=_json({"delay": delay} if delay else None),
        )
        if asks:
            await self._inside.operations.transactions.prepare(request)
        else:
            await self._submit(request)

    async def two_phases(
        self, gid: str, trans_type: TransType, *urls: str, timeout: int = 0, submit: bool = False
    ) -> None:
        """Begin a TCC or XA and register its branches; then submit it, or be a client that died.

        timeout: seconds until it is rolled back.
        """
        request = TransactionRequest(gid, trans_type, options=Options(timeout_to_fail=timeout))
        operations = self._inside.operations
        await operations.transactions.prepare(request)
        for number, url in enumerate(urls, start=1):
            data = {"confirm": f"{url}/confirm", "cancel": f"{url}/cancel", "url": url}
            branch = BranchRequest(gid, trans_type, f"{number:02d}", orjson.dumps(PAYLOAD), data)
            await operations.branches.register(branch)
        if submit:
            await self._submit(request)

    async def workflow(self, gid: str, name: str, back: str, *done: str, ends: Status | None = None) -> None:
        """Begin one, whose client has these steps behind it. back: where it is called back."""
        custom = {"name": name, "data": base64.b64encode(orjson.dumps(PAYLOAD)).decode()}
        workflow = TransactionRequest(gid, TransType.WORKFLOW, query_prepared=back, custom_data=_json(custom))
        operations = self._inside.operations
        await operations.workflows.prepare(workflow)
        for number, step in enumerate(done, start=1):
            data = {"op": "action", "status": "succeed"}
            await operations.branches.register(
                BranchRequest(gid, TransType.WORKFLOW, f"{number:02d}", step.encode(), data)
            )
        if ends is not None:
            ended = TransactionRequest(gid, TransType.WORKFLOW, req_extra={"status": ends.value})
            await operations.workflows.submit(ended)

    async def topic(self, name: str, *urls: str) -> None:
        """Subscribe these."""
        for url in urls:
            await self._inside.operations.topics.subscribe(name, url, "by dtm dev", by=ANN)

    async def act(self, gid: str, action: Action, by: Actor, reason: str) -> None:
        """Do what an operator would, who has seen the preview."""
        operate, wish = self._inside.operations.operate, Wish(action)
        made = await operate.preview(gid, wish)
        await operate.act(gid, wish, made.hash, by, reason)
        await self._inside.settle()

    async def _submit(self, request: TransactionRequest) -> None:
        await self._inside.operations.transactions.submit(request)


def _json(value: Mapping[str, Any] | None) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode() if value else ""


def ago(now: datetime, minutes: float) -> datetime:
    """So long before now."""
    return now - timedelta(minutes=minutes)
