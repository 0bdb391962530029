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

HEAD = """\
# Compatibility

Clients that others wrote, unchanged, and what they are seen to do with this coordinator. The lists are made
from a run of `tests/interop`, which is part of `make test`; a test compares them with every later run.

```sh
make compatibility
```

runs it all and writes this file anew. Each pattern checks what the client returns, what the coordinator's rows
say afterwards, and what is in the business tables.
"""

RECORDED = """
## Recorded answers of the reference

{count} calls over HTTP and JSON-RPC, made at the Go server and at ours. Status, content type, answer and the
calls that branches saw are alike, except:

| call | where | ours, because |
|---|---|---|
"""

REFERENCE = """
## A server of the reference beside ours

```sh
DTM_REFERENCE_URL=http://localhost:36789 DTM_REFERENCE_GRPC=localhost:36790 make test-interop
```

runs the same programs against that server, too, and prints a table of what differs. It should run with
`UPDATE_BRANCH_SYNC=1`, so that its rows are there when it answers, and `TRANS_CRON_INTERVAL=1`. With
`DTM_REFERENCE_MYSQL=host:port` (user root, no password, database dtm) a coordinator of ours joins its database,
and each finishes what the other began. Without these variables that part is not run.

## What is the clients' own

- Go, HTTP and JSON-RPC: the error of a call to the coordinator is the answer's text, so `errors.Is(err,
  dtmcli.ErrFailure)` is false for a `Submit` whatever server answers. Over gRPC `dtmgrpc.GrpcError2DtmError` tells.
- Go, XA in MySQL and MariaDB: the client prepares a branch, closes its connection, and takes the error XAER_NOTA of
  a commit for "committed already". A commit that arrives before the database has noticed the closed connection gets
  that error, too: the branch stays prepared and holds its locks, though the transaction is `succeed`. `XA RECOVER`
  shows such a branch. The programs here wait for the database before they answer.
- Python, dtmcli 1.7.7.0: a concurrent saga ends in an AttributeError inside the client; `tcc_global_transaction`
  returns an empty gid when it was rolled back.
"""


def document(lines: Iterable[Line]) -> str:
    """Return the whole document. lines: of all clients, in the order in which they shall stand."""
    parts = [HEAD]
    for client, group in groupby(lines, key=lambda line: line.client):
        parts.append(f"\n## {client}\n\n{_table(list(group))}")
    parts.append(RECORDED.format(count=len(entries())) + _allowed() + REFERENCE)
    return "".join(parts)


def _table(lines: Sequence[Line]) -> str:
    used = [it for it in PROTOCOLS if any(line.protocol == it for line in lines)]
    results = {(line.pattern, line.protocol): line.result for line in lines}
    rows = [f"| pattern | {' | '.join(NAMES[it] for it in used)} |", f"|---|{'---|' * len(used)}"]
    for pattern in sorted({line.pattern for line in lines}):
        cells = " | ".join(results.get((pattern, it), "") for it in used)
        rows.append(f"| {pattern} | {cells} |")
    return "\n".join(rows) + "\n"


def _allowed() -> str:
    names = {entry["number"]: entry["name"] for entry in entries()}
    return "".join(
        f"| {it.number} {names[it.number]} | `{it.path}` | {it.why.rule} ({it.why.section}) |\n"
        for it in ALLOWED
    )
