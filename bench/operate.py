"""How long people and scripts wait for what `/api/operate` says, in a store of many rows.

    .venv/bin/python -m bench.operate                     # 1,000,000 finished and 1,000 stuck transactions
    .venv/bin/python -m bench.operate --finished 100000 --stuck 500 --repeats 10 --write

On a throw-away MariaDB, over HTTP, one request at a time; nothing else is asked of the server meanwhile.
"""

import argparse
import statistics
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Final

from bench.machine import described
from bench.tables import markdown
from tests.support.servers import Database, MariaDBServer
from tests.support.under_test import ROOT, CoordinatorProcess

_DOCUMENT: Final = ROOT / "docs" / "performance" / "operate.md"
_SECONDS_MAX: Final = 60
_PAGE: Final = 100_000  # rows planted by one statement
_STUCK_GID: Final = "stuck-1"
_QUESTIONS: Final = {
    "the newest": "transactions",
    "unfinished": "transactions?filter=-status:succeed",
    "of a pattern and a status": "transactions?filter=type:saga status:submitted",
    "stuck at an endpoint": "transactions?filter=endpoint:ledger",
    "stuck by an error": 'transactions?filter=error:"refused"',
    "unfinished for five minutes": "transactions?filter=-status:succeed age:>5m",
    "finished, of a pattern": "transactions?filter=type:tcc status:succeed",
    "one transaction": f"transactions/{_STUCK_GID}",
    "the inbox": "inbox",
    "who is there": "nodes",
    "who did what": "audit",
}
_FINISHED: Final = """
INSERT INTO trans_global (gid, trans_type, status, query_prepared, protocol, create_time, update_time,
  finish_time, options, custom_data, next_cron_interval, next_cron_time, owner, result, rollback_reason)
SELECT CONCAT('done-', seq), ELT(1 + seq % 3, 'saga', 'tcc', 'msg'), 'succeed', '', 'http', {then}, {then},
  {then}, '{{}}', '', 10, {then}, '', '', ''
FROM seq_{first}_to_{last}"""
_STUCK: Final = (
    """
INSERT INTO trans_global (gid, trans_type, status, query_prepared, protocol, create_time, update_time,
  options, custom_data, next_cron_interval, next_cron_time, owner, result, rollback_reason)
SELECT CONCAT('stuck-', seq), 'saga', 'submitted', '', 'http', UTC_TIMESTAMP() - INTERVAL 1 HOUR,
  UTC_TIMESTAMP(), '{{}}', '', 640, UTC_TIMESTAMP() + INTERVAL 1 DAY, '', '', ''
FROM seq_1_to_{count}""",
    """
INSERT INTO trans_branch_op (gid, url, bin_data, branch_id, op, status, create_time, update_time)
SELECT CONCAT('stuck-', seq), CONCAT('http://ledger/', op.name), '{{}}', '01', op.name, 'prepared',
  UTC_TIMESTAMP(), UTC_TIMESTAMP()
FROM seq_1_to_{count} CROSS JOIN (SELECT 'compensate' AS name UNION ALL SELECT 'action') AS op""",
    """
INSERT INTO dtm_attempt (gid, branch_id, op, place, number, result, kind, status, url, endpoint, answer,
  fingerprint, coordinator, began, last, milliseconds, times)
SELECT CONCAT('stuck-', one.seq), '01', 'action', place.seq - 1, place.seq, 'unknown', 'refused', NULL,
  'http://ledger/action', 'http://ledger', 'cannot connect (Connection refused)',
  'refused: cannot connect (Connection refused)', 'bench', UTC_TIMESTAMP(), UTC_TIMESTAMP(), 3, 1
FROM seq_1_to_{count} AS one CROSS JOIN seq_1_to_20 AS place""",
    """
INSERT INTO dtm_stuck (gid, trans_type, status, branch_id, op, endpoint, kind, fingerprint, error,
  coordinator, since)
SELECT CONCAT('stuck-', seq), 'saga', 'submitted', '01', 'action', CONCAT('http://ledger-', seq % 10),
  'refused',
  'refused: cannot connect (Connection refused)', 'cannot connect (Connection refused)', 'bench',
  UTC_TIMESTAMP() - INTERVAL 1 HOUR
FROM seq_1_to_{count}""",
)


def plant(database: Database, *, finished: int, stuck: int) -> None:
    """Store so many transactions that have ended, an hour's worth a day back, and that are stuck."""
    then = "UTC_TIMESTAMP() - INTERVAL 1 DAY - INTERVAL seq % 3600 SECOND"
    for first in range(1, finished + 1, _PAGE):
        last = min(first + _PAGE - 1, finished)
        database.execute(_FINISHED.format(then=then, first=first, last=last))
    for statement in _STUCK:
        database.execute(statement.format(count=stuck))
    database.execute("ANALYZE TABLE trans_global, trans_branch_op, dtm_attempt, dtm_stuck")


def asked(base: str, question: str, repeats: int) -> list[float]:
    """Milliseconds of each answer. Raises URLError for anything but 200."""
    path, _, query = question.partition("?")
    name, _, value = query.partition("=")
    url = f"{base}/{path}" + (f"?{urllib.parse.urlencode({name: value})}" if query else "")
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        with urllib.request.urlopen(url, timeout=_SECONDS_MAX) as answer:
            answer.read()
        took.append((time.perf_counter() - began) * 1000)
    return took


def document(found: Mapping[str, list[float]], *, finished: int, stuck: int) -> str:
    """The page that the figures are kept on."""
    machine = [["machine", ""], *([name, value] for name, value in described().items())]
    rows = [["what is asked", "asked as", "median ms", "slowest ms"]]
    for what, took in found.items():
        rows.append([what, f"`{_QUESTIONS[what]}`", f"{statistics.median(took):.1f}", f"{max(took):.1f}"])
    repeats = len(next(iter(found.values())))
    today = date.today().isoformat()  # noqa: DTZ011 - the date on the wall
    return f"""\
# What operators wait for

Written by `.venv/bin/python -m bench.operate --write` on {today}: answers of `/api/operate/` over HTTP,
one request at a time, {repeats} of each, from a store (MariaDB) of {finished:,} transactions that have
ended and {stuck:,} that are stuck. The slowest is mostly the first, for which nothing is in the caches.

{markdown(machine, words=2)}

{markdown(rows, words=2)}
"""


def main() -> None:
    """Plant, ask, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.operate", description=__doc__)
    parser.add_argument("--finished", type=int, default=1_000_000, help="transactions (1000000)")
    parser.add_argument("--stuck", type=int, default=1_000, help="transactions (1000)")
    parser.add_argument("--repeats", type=int, default=20, help="of each question (20)")
    parser.add_argument("--write", action="store_true", help=f"write {_DOCUMENT.relative_to(ROOT)}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dtm-bench-") as folder, MariaDBServer() as server:
        database = server.create_database("operate")
        with CoordinatorProcess(Path(folder) / "dtm", store=database) as coordinator:
            print(f"planting {options.finished:,} and {options.stuck:,} transactions …", flush=True)
            plant(database, finished=options.finished, stuck=options.stuck)
            base = f"{coordinator.http_url}/api/operate"
            found = {what: asked(base, question, options.repeats) for what, question in _QUESTIONS.items()}
    text = document(found, finished=options.finished, stuck=options.stuck)
    print(text)
    if options.write:
        _DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
