"""The calls of the HTTP API (PROTOCOL §3): one table, with what each needs, and how each is answered."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import partial
from time import perf_counter
from typing import Any, Final

import orjson
from aiohttp.web import BaseRequest
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from coordinator.access.audit import Actor
from coordinator.access.gate import check_gid
from coordinator.access.permissions import OPEN, Needs, Permission, Principal, changes, looks
from coordinator.api.decode import decode_gid, decode_registration, decode_transaction
from coordinator.api.http_answer import Answer, Answers
from coordinator.api.http_request import query_parameters, read_body
from coordinator.api.json_rpc import JsonRpc
from coordinator.api.listing import filter_from, next_position_of, page_of, page_size, position, reset_timeout
from coordinator.api.masking import page_shown_to, progress_shown_to, shown_to, value_shown_to
from coordinator.api.openapi import OpenapiJson
from coordinator.api.render import render_all, render_key_value, render_query, render_workflow, rendered
from coordinator.api.render_operate import shown_whole
from coordinator.api.render_results import render_results
from coordinator.api.room import Room
from coordinator.api.turns import LISTS_AT_ONCE, QUERIES_AT_ONCE, Handler, Turns
from coordinator.errors import DtmError, Invalid, NotFound
from coordinator.model import OWN_FEATURES, TransactionRequest
from coordinator.service import Operations
from coordinator.telemetry.metrics import Metrics
from coordinator.watching.readiness import Readiness
from coordinator.watching.siblings import Siblings
from coordinator.watching.tracing import Tracing

BASE: Final = "/api/dtmsvr/"
ANY: Final = "*"  # method of a call that takes all
TOPIC_PREFIX: Final = f"{BASE}topic/"  # the rest of the path is the topic
_TOPIC: Final = f"{TOPIC_PREFIX}{{topic}}"

_SUCCESS: Final = b'{"dtm_result":"SUCCESS"}'
_HEALTHY: Final = b'{"healthy":true}'
_PONG: Final = b'{"msg":"pong"}'


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One call: where it is, what it needs, who answers it.

    name: by which it is counted; empty where it is not, or counts itself. is_traced: whether it has a span.
    refuse: the answer to what went wrong, where it is not the protocol's. is_page: whether people see it, so
    that who is logged in may make it.
    """

    method: str
    path: str
    needs: Needs
    answer: Handler
    name: str = ""
    is_traced: bool = False
    refuse: Callable[[BaseRequest, DtmError], Answer] | None = None
    is_page: bool = False


class HttpCalls:
    """Decodes requests, asks the service, encodes its answers."""

    def __init__(
        self,
        operations: Operations,
        readiness: Readiness,
        metrics: Metrics,
        answers: Answers,
        json_rpc: JsonRpc,
        *,
        version: str,
        zone: tzinfo | None,
        body_bytes_max: int,
        tracing: Tracing,
        room: Room,
        siblings: Siblings | None = None,
    ) -> None:
        """See HttpApi."""
        self._siblings = siblings
        self._operations = operations
        self._readiness = readiness
        self._metrics = metrics
        self._answers = answers
        self._json_rpc = json_rpc
        self._json_rpc_meter = metrics.request("http", "json-rpc")
        self._tracing = tracing
        self._zone = zone
        self._read = partial(read_body, bytes_max=body_bytes_max, room=room)
        self._version = orjson.dumps({"version": version, "features": OWN_FEATURES})
        self._document = OpenapiJson(version)

    def all(self) -> Sequence[HttpCall]:
        """Every call there is."""
        transactions, operators = self._operations.transactions, self._operations.operators
        lists, queries = Turns(LISTS_AT_ONCE), Turns(QUERIES_AT_ONCE)
        submit, read = Permission.SUBMIT, Permission.READ
        uses = changes(submit)
        named: tuple[tuple[str, str, Needs, Handler], ...] = (
            ("GET", "newGid", looks(submit), self._new_gid),
            ("POST", "forceStop", changes(Permission.OPERATE_FORCE), self._gid_call(operators.force_stop)),
            (
                *("POST", "resetNextCronTime", changes(Permission.OPERATE)),
                self._gid_call(operators.reset_next_cron_time),
            ),
            ("GET", "resetCronTime", changes(Permission.OPERATE), self._reset_cron_time),
            ("GET", "query", looks(submit, read), queries.of(self._query)),
            ("GET", "all", looks(read), lists.of(self._all)),
            ("GET", "scanKV", looks(read), lists.of(self._scan_values)),
            ("GET", "queryKV", looks(read), self._query_values),
            ("GET", "subscribe", changes(submit, Permission.TOPICS), self._subscribe),
            ("GET", "unsubscribe", changes(submit, Permission.TOPICS), self._unsubscribe),
            ("GET", "version", OPEN, self._show_version),
        )
        traced: tuple[tuple[str, Handler], ...] = (
            ("prepare", self._transaction_call(transactions.prepare)),
            ("submit", self._transaction_call(transactions.submit)),
            ("abort", self._transaction_call(transactions.abort)),
            ("registerBranch", self._register),
            ("registerTccBranch", self._register),
            ("registerXaBranch", self._register),
            ("prepareWorkflow", self._prepare_workflow),
        )
        return (
            *(HttpCall(method, BASE + name, needs, answer, name) for method, name, needs, answer in named),
            *(HttpCall("POST", BASE + name, uses, answer, name, is_traced=True) for name, answer in traced),
            HttpCall("DELETE", _TOPIC, changes(Permission.TOPICS), self._delete_topic, "topic"),
            HttpCall("POST", "/api/json-rpc", self._json_rpc.needs, self._answer_json_rpc, is_traced=True),
            HttpCall("GET", "/api/openapi.json", looks(read), self._show_document, "openapi.json"),
            HttpCall(ANY, "/api/ping", OPEN, self._ping),
            HttpCall("GET", "/api/health", OPEN, self._health),
            HttpCall("GET", "/api/ready", OPEN, self._ready),
            HttpCall("GET", "/api/metrics", looks(Permission.METRICS), self._show_metrics),
        )

    def _transaction_call(
        self, operation: Callable[[TransactionRequest], Awaitable[Mapping[str, bytes] | None]]
    ) -> Handler:
        async def answer(request: BaseRequest, who: Principal) -> Answer:
            wanted = decode_transaction(await self._read(request))
            check_gid(who, wanted.gid)
            self._tracing.about(wanted.gid, wanted.trans_type)
            results = await operation(wanted)
            if results:
                return self._json(request, {"dtm_result": "SUCCESS", **render_results(results)})
            return self._answers.make(request, _SUCCESS)

        return answer

    def _gid_call(self, operation: Callable[[str, Actor, str], Awaitable[None]]) -> Handler:
        async def answer(request: BaseRequest, who: Principal) -> Answer:
            gid, reason = decode_gid(await self._read(request))
            await operation(gid, _actor(request, who), reason)
            return self._answers.make(request, _SUCCESS)

        return answer

    async def _new_gid(self, request: BaseRequest, who: Principal) -> Answer:
        return self._json(
            request,
            {"gid": who.gid_prefix + self._operations.transactions.new_gid(), "dtm_result": "SUCCESS"},
        )

    async def _query(self, request: BaseRequest, who: Principal) -> Answer:
        given = query_parameters(request)
        gid = given.get("gid", "")
        check_gid(who, gid)
        if gid and given.get("detail") == "1":
            return self._json(request, await self._detailed(gid, who))
        stored = shown_to(who, await self._operations.operators.query(gid))
        return self._json(request, await rendered(render_query, stored, self._zone))

    async def _detailed(self, gid: str, who: Principal) -> Mapping[str, Any]:
        try:
            return await shown_whole(who, await self._operations.operate.show(gid), self._zone)
        except NotFound:  # which is no error of this call
            return render_query(None, self._zone)

    async def _all(self, request: BaseRequest, who: Principal) -> Answer:
        wanted = filter_from(query_parameters(request))
        listed = await self._operations.operators.all(wanted)
        page, next_position = page_shown_to(who, listed.rows), next_position_of(listed)
        shown = render_all(page, next_position, self._zone, of_gid=bool(wanted.gid))
        return self._json(request, shown)

    async def _reset_cron_time(self, request: BaseRequest, who: Principal) -> Answer:
        given = query_parameters(request)
        succeed_count, has_remaining = await self._operations.operators.reset_cron_time(
            timeout=reset_timeout(given),
            limit=page_size(given),
            by=_actor(request, who),
            reason=given.get("reason", ""),
        )
        return self._json(request, {"succeed_count": succeed_count, "has_remaining": has_remaining})

    async def _register(self, request: BaseRequest, who: Principal) -> Answer:
        body = await self._read(request)
        try:
            registration = decode_registration(body)
        except Invalid as error:  # the one place where clients expect 400
            return self._json(request, {"message": error.message}, 400)
        check_gid(who, registration.gid)
        self._tracing.about(registration.gid, registration.trans_type)
        await self._operations.branches.register(registration)
        return self._answers.make(request, _SUCCESS)

    async def _prepare_workflow(self, request: BaseRequest, who: Principal) -> Answer:
        wanted = decode_transaction(await self._read(request))
        check_gid(who, wanted.gid)
        self._tracing.about(wanted.gid, wanted.trans_type)
        stored = progress_shown_to(who, await self._operations.workflows.prepare(wanted))
        return self._json(request, await rendered(render_workflow, stored, self._zone))

    async def _subscribe(self, request: BaseRequest, who: Principal) -> Answer:
        given = query_parameters(request)
        await self._operations.topics.subscribe(
            given.get("topic", ""), given.get("url", ""), given.get("remark", ""), _actor(request, who)
        )
        return self._answers.make(request, _SUCCESS)

    async def _unsubscribe(self, request: BaseRequest, who: Principal) -> Answer:
        given = query_parameters(request)
        await self._operations.topics.unsubscribe(
            given.get("topic", ""), given.get("url", ""), _actor(request, who)
        )
        return self._answers.make(request, _SUCCESS)

    async def _delete_topic(self, request: BaseRequest, who: Principal) -> Answer:
        await self._operations.topics.delete(request.path.removeprefix(TOPIC_PREFIX), _actor(request, who))
        return self._answers.make(request, _SUCCESS)

    async def _scan_values(self, request: BaseRequest, who: Principal) -> Answer:
        given = query_parameters(request)
        limit, before_id = page_size(given), position(given)
        rows = await self._operations.operators.list_values(
            given.get("cat", ""), limit=limit + 1, before_id=before_id
        )
        page, next_position = page_of(rows, limit)
        shown = [render_key_value(value_shown_to(who, row), self._zone) for row in page]
        return self._json(request, {"kv": shown, "next_position": next_position})

    async def _query_values(self, request: BaseRequest, who: Principal) -> Answer:
        given = query_parameters(request)
        row = await self._operations.operators.find_value(given.get("cat", ""), given.get("key", ""))
        shown = [render_key_value(value_shown_to(who, row), self._zone)] if row else []
        return self._json(request, {"kv": shown})

    async def _answer_json_rpc(self, request: BaseRequest, who: Principal) -> Answer:
        # Its errors come with 200 as well (PROTOCOL §4), but count as what they are.
        started, ok = perf_counter(), False
        try:
            body, ok = await self._json_rpc.answer(await self._read(request), who, request.remote or "")
        finally:
            self._json_rpc_meter.done(ok, perf_counter() - started)
        return self._answers.make(request, body)

    async def _show_version(self, request: BaseRequest, _: Principal) -> Answer:
        return self._answers.make(request, self._version)

    async def _show_document(self, request: BaseRequest, _: Principal) -> Answer:
        return self._answers.make(request, await self._document.get())

    async def _ping(self, request: BaseRequest, _: Principal) -> Answer:
        return self._answers.make(request, _PONG)

    async def _health(self, request: BaseRequest, _: Principal) -> Answer:
        # Alive, whatever is wrong with what it depends on: a restart would not help.
        return self._answers.make(request, _HEALTHY)

    async def _ready(self, request: BaseRequest, _: Principal) -> Answer:
        problems, remarks = self._readiness.problems(), self._readiness.remarks()
        if self._siblings is not None:
            problems = {**problems, **await self._siblings.problems()}
        said = {"remarks": dict(remarks)} if remarks else {}
        if problems:
            return self._json(request, {"ready": False, "problems": dict(problems), **said}, status=503)
        return self._json(request, {"ready": True, **said})

    async def _show_metrics(self, request: BaseRequest, _: Principal) -> Answer:
        text = generate_latest(self._metrics.registry)
        if self._siblings is not None:
            text = await self._siblings.metrics(text)
        return self._answers.make(request, text, kind=CONTENT_TYPE_LATEST)

    def _json(self, request: BaseRequest, content: Mapping[str, Any], status: int = 200) -> Answer:
        return self._answers.make(request, orjson.dumps(content), status)


def _actor(request: BaseRequest, who: Principal) -> Actor:
    return Actor(who.name, who.method, request.remote or "")
