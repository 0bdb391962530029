"""JSON-RPC branches (PROTOCOL §10): one POST whose params are the payload and the branch."""

import json

from coordinator.attempt import Kind
from coordinator.calls.answers import json_rpc_answer, kept_json_rpc_answer, unknown
from coordinator.calls.base import Answer
from coordinator.calls.http import HttpCaller
from coordinator.calls.url import HttpUrl
from coordinator.model import Branch, Transaction
from coordinator.results import keeps


async def call_json_rpc(
    http: HttpCaller, transaction: Transaction, branch: Branch, url: HttpUrl, timeout: float
) -> Answer:
    """Call the method that the url's parameter `method` names. timeout: seconds.

    The id is the same each time the branch is called: one call repeated, not several.
    """
    try:
        params = json.loads(branch.payload or b"{}")
    except (ValueError, RecursionError):
        params = ()
    if params is None:
        params = {}
    if not isinstance(params, dict):
        return unknown(
            "the payload of a JSON-RPC branch must be a JSON object, which this one is not", Kind.URL
        )
    params |= {
        "gid": branch.gid,
        "trans_type": str(transaction.trans_type),
        "branch_id": branch.branch_id,
        "op": branch.op,
    }
    request = {
        "jsonrpc": "2.0",
        "id": f"{branch.gid}-{branch.branch_id}-{branch.op}",
        "method": url.url.query.get("method", ""),
        "params": params,
    }
    body = json.dumps(request, ensure_ascii=False).encode(errors="replace")
    return await http.fetch(
        "POST",
        url,
        url.target,
        body,
        transaction.options.headers_for(branch.branch_id),
        timeout,
        kept_json_rpc_answer if keeps(branch.url) else json_rpc_answer,
    )
