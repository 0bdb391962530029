"""What schemathesis cannot make up by itself: gids that operations share, a payload per step, custom_data.

Loaded by its command line, through SCHEMATHESIS_HOOKS. The n-th body of an operation and type names the n-th
gid of that type, so that what is prepared is registered to, submitted and aborted by others.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

import schemathesis

TYPES: Final = ("saga", "msg", "tcc", "xa", "workflow")
BY_GID: Final = ("/api/dtmsvr/forceStop", "/api/dtmsvr/resetNextCronTime")
ENDING: Final = ("/api/dtmsvr/abort", *BY_GID)
ENDED_FROM: Final = 500  # so that what these end was not ended by a submit before
CUSTOM_DATA: Final = {
    "saga": ("", '{"concurrent":true}', '{"orders":{}}'),
    "msg": ("", '{"delay":0}', '{"concurrent":true}'),
    "workflow": ('{"name":"register","data":"e30="}', '{"name":"register"}'),
}
_numbers: dict[tuple[str, str], Iterator[int]] = defaultdict(itertools.count)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Name the transaction, inside JSON-RPC's params too; ask for one that there is, every other time."""
    path, body = case.operation.path, case.body
    if isinstance(body, dict) and isinstance(body.get("params"), dict):
        case.body = body | {"params": _named(f"{path}#{body.get('method')}", body["params"])}
    elif isinstance(body, dict):
        case.body = _named(path, body)
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
