"""What a branch answered, as the header `Dtm-Branch` of an error's answer; over gRPC as metadata.

Bodies, messages and statuses are the protocol's (PROTOCOL §2), and stay as they are.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from coordinator.errors import BranchAnswer, DtmError

NAME: Final = "dtm-branch"
BYTES_MAX: Final = 1800  # beside the longest message, clients on gRPC's C core take no more headers
_CUT: Final = "…"
_NO_HEADERS: Final[Mapping[str, str]] = {}


def branch_header(error: DtmError) -> Mapping[str, str]:
    """The header that goes with an error: JSON in ASCII, `said` cut in its middle until it fits."""
    if error.branch is None:
        return _NO_HEADERS
    return {NAME: _fitting(error.branch)}


def _fitting(branch: BranchAnswer) -> str:
    kept = len(branch.said)
    while len(encoded := _encoded(branch)) > BYTES_MAX:
        if not branch.said:
            return _encoded(replace(branch, url=""))
        kept = min(kept, BYTES_MAX) * 3 // 4
        half = kept // 2
        shorter = f"{branch.said[:half]}{_CUT}{branch.said[-half:]}" if half else ""
        branch = replace(branch, said=shorter)
    return encoded


def _encoded(branch: BranchAnswer) -> str:
    return json.dumps(
        {
            "url": branch.url,
            "branch_id": branch.branch_id,
            "op": branch.op,
            "status": branch.status,
            "said": branch.said,
        },
        separators=(",", ":"),
    )
