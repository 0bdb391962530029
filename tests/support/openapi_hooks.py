"""What schemathesis cannot make up by itself: gids that operations share, a payload per step, custom_data.

Loaded by its command line, through SCHEMATHESIS_HOOKS. The n-th body of an operation and type names the n-th
gid of that type, so that what is prepared is registered to, submitted and aborted by others.

What a run must have reached is aimed at besides, by requests of `openapi_aimed`.
"""

import itertools
import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

import schemathesis

from tests.support.openapi_aimed import aimed_requests

TYPES: Final = ("saga", "msg", "tcc", "xa", "workflow")
BY_GID: Final = ("/api/dtmsvr/forceStop", "/api/dtmsvr/resetNextCronTime")
ENDING: Final = ("/api/dtmsvr/abort", *BY_GID)
ENDED_FROM: Final = 500  # so that what these end was not ended by a submit before
CUSTOM_DATA: Final = {
    "saga": ("", '{"concurrent":true}', '{"orders":{}}'),
    "msg": ("", '{"delay":0}', '{"concurrent":true}'),
    "workflow": ('{"name":"register","data":"e30="}', '{"name":"register"}'),
}
BRANCH_URL: Final = "AIMED_AT_BRANCH"  # in the environment: the url of a branch that answers success
_numbers: dict[tuple[str, str], Iterator[int]] = defaultdict(itertools.count)


@schemathesis.hook
def before_add_examples(context: Any, examples: list[Any]) -> None:
    """Add what is aimed at this operation to the examples that every run begins with."""
    for it in aimed_requests(os.environ[BRANCH_URL]):
        if it.path == context.operation.path:
            of_path, of_body = {"gid": it.gid} if it.gid else {}, {}
            if it.body is not None:
                of_body = {"body": dict(it.body), "media_type": "application/json"}
            made = context.operation.Case(path_parameters=of_path, query=dict(it.query), **of_body)
            examples.append(made)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Name the transaction, inside JSON-RPC's params too; ask for one that there is, every other time."""
    if case.meta is None:  # not made up, but aimed
        return
    path, body = case.operation.path, case.body
    if isinstance(body, dict) and isinstance(body.get("params"), dict):
        case.body = body | {"params": _named(f"{path}#{body.get('method')}", body["params"])}
    elif isinstance(body, dict):
        case.body = _named(path, body)
    if "{gid}" in path:
        number = next(_numbers[path, "path"])
        case.path_parameters = {"gid": gid_of(TYPES[number % len(TYPES)], number // len(TYPES))}
    if path == "/api/dtmsvr/query" and isinstance(case.query, dict):
        number = next(_numbers[path, "query"])
        if number % 2:
            case.query = case.query | {"gid": gid_of(TYPES[number % len(TYPES)], number // len(TYPES))}


def _named(path: str, body: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(body.get("gid"), str) or not body["gid"]:
        return body
    trans_type = "saga" if path in BY_GID else body.get("trans_type")
    if trans_type not in TYPES:
        return body
    number = next(_numbers[path, str(trans_type)])
    named = body | {"gid": gid_of(str(trans_type), number + (ENDED_FROM if path in ENDING else 0))}
    if choices := CUSTOM_DATA.get(str(trans_type)):
        named["custom_data"] = choices[number % len(choices)]
    steps = named.get("steps")
    if isinstance(steps, list) and steps and number % 4:
        named["payloads"] = ['{"amount":30}'] * len(steps)
    return named


def gid_of(trans_type: str, number: int) -> str:
    """The n-th gid of a type."""
    return f"made-up-{trans_type}-{number}"
