"""The options of a transaction as keywords, under the protocol's names (PROTOCOL §3)."""

from collections.abc import Collection, Mapping
from typing import TypedDict

from coordinator.client.transport.checks import (
    check_flag,
    check_headers,
    check_number,
    checked_statuses,
    is_http,
)
from coordinator.model import PROTOCOL_GRPC, PROTOCOL_HTTP, Options


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
    failure_statuses: Collection[int] = (),
    protocol: str = PROTOCOL_HTTP,
) -> Options:
    """Return the options; raises InvalidUse for what is no such option's value, naming both."""
    check_flag("wait_result", wait_result)
    check_flag("concurrent", concurrent)
    check_number("timeout_to_fail", timeout_to_fail)
    check_number("request_timeout", request_timeout)
    check_number("retry_interval", retry_interval)
    check_number("retry_limit", retry_limit)
    if branch_headers:
        check_headers("branch_headers", branch_headers, protocol)
    return Options(
        wait_result=wait_result,
        concurrent=concurrent,
        branch_headers=dict(branch_headers or {}),
        timeout_to_fail=timeout_to_fail,
        request_timeout=request_timeout,
        retry_interval=retry_interval,
        retry_limit=retry_limit,
        failure_statuses=checked_statuses(failure_statuses) if failure_statuses else (),
    )


def headers_of_call(options: Options, headers: Mapping[str, str] | None, url: str) -> Mapping[str, str]:
    """Return what one call carries: its own headers, which go before the transaction's. Raises InvalidUse."""
    if not headers:
        return options.branch_headers
    check_headers("headers", headers, PROTOCOL_HTTP if is_http(url) else PROTOCOL_GRPC)
    return Options(branch_headers=options.branch_headers, step_headers={"": headers}).headers_for("")
