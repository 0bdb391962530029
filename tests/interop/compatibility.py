"""docs/compatibility.md, made from the lines of a run."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from tests.interop.lines import Line
from tests.interop.recorded.allowed import ALLOWED
from tests.interop.recorded.replay import entries
from tests.support.under_test import ROOT

DOCUMENT = ROOT / "docs" / "compatibility.md"
PROTOCOLS = ("http", "grpc", "json-rpc")
NAMES = {"http": "HTTP", "grpc": "gRPC", "json-rpc": "JSON-RPC"}

FROM, TO = (
    "<!-- made by make compatibility: from here -->\n",
    "<!-- made by make compatibility: to here -->\n",
)

RECORDED = """
## Recorded answers of the reference

{count} calls over HTTP and JSON-RPC, made at the Go server and at ours. Status, content type, answer and the
calls that branches saw are alike, except:

| call | where | ours, because |
|---|---|---|
"""


def document(written: str, lines: Iterable[Line]) -> str:
    """Return the document with its lists made anew; the words around them stay.

    lines: of all clients, in the order in which they shall stand.
    """
    before, _, rest = written.partition(FROM)
    _, _, after = rest.partition(TO)
    parts = []
    for client, group in groupby(lines, key=lambda line: line.client):
        parts.append(f"\n## {client}\n\n{_table(list(group))}")
    parts.append(RECORDED.format(count=len(entries())) + _allowed())
    return f"{before}{FROM}{''.join(parts)}\n{TO}{after}"


def _table(lines: Sequence[Line]) -> str:
    used = [it for it in PROTOCOLS if any(line.protocol == it for line in lines)]
    # Of several examples of one call, the one that did not pass stands here.
    worst_last = sorted(lines, key=lambda line: line.result != "passed")
    results = {(line.pattern, line.protocol): line.result for line in worst_last}
    rows = [f"| pattern | {' | '.join(NAMES[it] for it in used)} |", f"|---|{'---|' * len(used)}"]
    for pattern in sorted({line.pattern for line in lines}):
        cells = " | ".join(results.get((pattern, it), "") for it in used)
        rows.append(f"| {pattern} | {cells} |")
    return "\n".join(rows) + "\n"


def _allowed() -> str:
    names = {entry["number"]: entry["name"] for entry in entries()}
    return "".join(f"| {it.number} {names[it.number]} | `{it.path}` | {it.why.rule} |\n" for it in ALLOWED)
