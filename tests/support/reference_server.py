"""The Go dtm server that some tests ask, where the environment names one; else they are skipped by name.

DTM_REFERENCE_URL: its HTTP address. DTM_REFERENCE_GRPC: its gRPC one. UpdateBranchSync must be 1 there:
otherwise it answers for the steps of a workflow before it has stored them.
DTM_REFERENCE_MYSQL: host:port of its database (user root, no password, database dtm), for a mixed fleet.
"""

import os
from typing import Final

import pytest

from tests.support.could_not_run import NOT_ASKED_FOR

HTTP: Final = os.environ.get("DTM_REFERENCE_URL", "").removesuffix("/api/dtmsvr")
GRPC: Final = os.environ.get("DTM_REFERENCE_GRPC", "localhost:36790")
MYSQL: Final = os.environ.get("DTM_REFERENCE_MYSQL", "")

asks_reference: Final = pytest.mark.skipif(
    not HTTP, reason=f"{NOT_ASKED_FOR}DTM_REFERENCE_URL names no Go dtm server"
)
