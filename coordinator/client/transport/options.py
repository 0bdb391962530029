"""The options of a transaction as keywords, under the protocol's names (PROTOCOL §3)."""

from collections.abc import Mapping
from typing import TypedDict

from coordinator.client.errors import InvalidUse
from coordinator.model import Options


class TransactionOptions(TypedDict, total=False):
    """Keywords that tcc, xa, msg and workflow take (PROTOCOL §3).

    Times are in seconds; 0, or none given, means the coordinator's own.
    """

    wait_result: bool  # submit returns when the last phase has ended, not when it is stored
    timeout_to_fail: int  # seconds in `prepared` before it is rolled back (msg: asked about)
    request_timeout: int  # seconds for one branch call
    retry_interval: int  # seconds before the first repeat
    branch_headers: Mapping[str, str]  # sent with every branch call


def make_options(
    *,
    wait_result: bool = False,
    timeout_to_fail: int = 0,
    request_timeout: int = 0,
    retry_interval: int = 0,
    retry_limit: int = 0,
    concurrent: bool = False,
    branch_headers: Mapping[str, str] | None = None,
) -> Options:
    """Return the options; raises InvalidUse for a negative number, naming it."""
    numbers = {
        "timeout_to_fail": timeout_to_fail,
        "request_timeout": request_timeout,
        "retry_interval": retry_interval,
        "retry_limit": retry_limit,
    }
    for name, value in numbers.items():
        if value < 0:
            raise InvalidUse(f"{name}={value}: give a number that is not negative")
    return Options(
        wait_result=wait_result,
        concurrent=concurrent,
        branch_headers=dict(branch_headers or {}),
        **numbers,
    )
