"""Requests that the test of the OpenAPI document aims, each with the status that it must be answered with.

The test begins `PREPARED` and `ROLLED_BACK` beforehand; `openapi_hooks` adds each request to the examples of
its operation, so that every run makes it, whatever its seed is. No other request names these gids.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from yarl import URL

ROLLED_BACK: Final = {trans_type: f"aimed-{trans_type}-rolled-back" for trans_type in ("tcc", "xa")}
PREPARED: Final = {
    f"aimed-{trans_type}-{use}": trans_type
    for trans_type in ("tcc", "xa")
    for use in ("submitted", "aborted", "registered-to", "looked-at")
}
LONG: Final = 3600  # seconds: nothing here is rolled back by itself


@dataclass(frozen=True, slots=True)
class Aimed:
    """One request. path: as in the document; gid: what stands for `{gid}` in it."""

    status: int
    path: str
    gid: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None

    @property
    def answered(self) -> tuple[int, str, str]:
        """The status, the url behind the host, and the body as JSON, its keys in order."""
        url = URL(self.path.replace("{gid}", self.gid)).with_query(self.query)
        return self.status, str(url), "" if self.body is None else json.dumps(self.body, sort_keys=True)


def aimed_requests(branch_url: str) -> tuple[Aimed, ...]:
    """All of them. branch_url: answers success."""
    saga = {
        "gid": "aimed-saga",
        "trans_type": "saga",
        "steps": [{"action": branch_url, "compensate": branch_url}],
        "payloads": ['{"amount":30}'],
    }
    workflow = {
        "gid": "aimed-workflow",
        "trans_type": "workflow",
        "custom_data": '{"name":"register","data":"e30="}',
        "query_prepared": branch_url,
    }
    begun = begin("aimed-tcc-new", "tcc")
    ended = {trans_type: begin(gid, trans_type) for trans_type, gid in ROLLED_BACK.items()}
    ended_branch = {it: first_branch(gid, it, branch_url) for it, gid in ROLLED_BACK.items()}
    one, looked_at = "/api/operate/transactions/{gid}", "aimed-tcc-looked-at"
    return (
        _post(200, "submit", saga),
        *(_post(200, "submit", begin(f"aimed-{it}-submitted", it)) for it in ROLLED_BACK),
        *(_post(409, "submit", it) for it in ended.values()),
        _post(500, "submit", saga | {"timeout_to_fail": -1}),
        _post(200, "prepare", begun),
        *(_post(409, "prepare", it) for it in ended.values()),
        *(_post(200, "abort", begin(f"aimed-{it}-aborted", it)) for it in ROLLED_BACK),
        *(
            _post(200, "registerBranch", first_branch(f"aimed-{it}-registered-to", it, branch_url))
            for it in ended
        ),
        *(_post(409, name, ended_branch["tcc"]) for name in ("registerBranch", "registerTccBranch")),
        _post(409, "registerXaBranch", ended_branch["xa"]),
        _post(500, "registerBranch", first_branch("", "tcc", branch_url)),
        _post(200, "prepareWorkflow", workflow),
        *(_get(200, name, gid=looked_at) for name in ("query", "all")),
        _get(500, "query", gid=""),
        *(_get(500, name, limit="many") for name in ("all", "scanKV", "resetCronTime")),
        _get(200, "subscribe", topic="aimed", url=branch_url),
        Aimed(200, one, looked_at),
        Aimed(500, one, "aimed-nobody"),
        *(Aimed(200, f"{one}/preview", looked_at, {"action": it}) for it in ("retry", "rollback", "stop")),
        Aimed(409, f"{one}/preview", ROLLED_BACK["tcc"], {"action": "retry"}),
        Aimed(200, "/api/operate/inbox"),
    )


def begin(gid: str, trans_type: str) -> dict[str, Any]:
    """The body that prepares a transaction, and submits or aborts it."""
    return {"gid": gid, "trans_type": trans_type, "timeout_to_fail": LONG}


def first_branch(gid: str, trans_type: str, url: str) -> dict[str, Any]:
    """The body that registers its first branch."""
    urls = {"url": url} if trans_type == "xa" else {"confirm": url, "cancel": url}
    return {"gid": gid, "trans_type": trans_type, "branch_id": "01"} | urls


def _post(status: int, name: str, body: Mapping[str, Any]) -> Aimed:
    return Aimed(status, f"/api/dtmsvr/{name}", body=body)


def _get(status: int, name: str, **query: str) -> Aimed:
    return Aimed(status, f"/api/dtmsvr/{name}", query=query)
