"""The `options` column: the client's options as JSON (PROTOCOL §3, §14). Pure.

Empty values are left out, `concurrent` is always there. What another program wrote is read leniently: a value
of the wrong kind counts as not given, because a row that cannot be read would never be driven again.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import orjson

from coordinator.errors import Invalid
from coordinator.model import Options
from coordinator.store.limits import TEXT_MAX

_SECONDS_MAX: Final = 2**31 - 1  # what is taken from clients; with more, dates would end


def encode_options(options: Options) -> str:
    """Return the options as they are stored and shown by `query`, for instance `{"concurrent":false}`."""
    if options.branch_headers or options.failure_statuses or options.step_headers:
        return _encode(options, dict(options.branch_headers))
    return _encode_plain(
        options.wait_result,
        options.timeout_to_fail,
        options.request_timeout,
        options.retry_interval,
        options.retry_limit,
        options.concurrent,
    )


@lru_cache(maxsize=1024)  # most submits of a client carry the same few options
def _encode_plain(
    wait_result: bool,
    timeout_to_fail: int,
    request_timeout: int,
    retry_interval: int,
    retry_limit: int,
    concurrent: bool,
) -> str:
    options = Options(
        wait_result=wait_result,
        timeout_to_fail=timeout_to_fail,
        request_timeout=request_timeout,
        retry_interval=retry_interval,
        retry_limit=retry_limit,
        concurrent=concurrent,
    )
    return _encode(options, {})


def _encode(options: Options, branch_headers: dict[str, str]) -> str:
    values: dict[str, object] = {
        "wait_result": options.wait_result,
        "timeout_to_fail": options.timeout_to_fail,
        "request_timeout": options.request_timeout,
        "retry_interval": options.retry_interval,
        "retry_limit": options.retry_limit,
        "branch_headers": branch_headers,
        "failure_statuses": options.failure_statuses,
        "step_headers": options.step_headers,
    }
    given = {name: value for name, value in values.items() if value}
    try:
        return orjson.dumps({**given, "concurrent": options.concurrent}).decode()
    except orjson.JSONEncodeError as error:  # a number beyond 64 bits, text that is not Unicode
        raise Invalid(f"the options cannot be stored: {error}") from error


def decode_options(text: str | None) -> Options:
    """Return the options of a stored row; what is not there, or cannot be understood, is not given."""
    text = text or "{}"
    return _decode(text) if len(text) > TEXT_MAX else _remembered(text)


def _decode(text: str) -> Options:
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError:
        return Options()
    if not isinstance(values, Mapping):
        return Options()
    return Options(
        wait_result=values.get("wait_result") is True,
        timeout_to_fail=_seconds(values.get("timeout_to_fail")),
        request_timeout=_seconds(values.get("request_timeout")),
        retry_interval=_seconds(values.get("retry_interval")),
        retry_limit=_seconds(values.get("retry_limit")),
        concurrent=values.get("concurrent") is True,
        branch_headers=_headers(values.get("branch_headers")),
        failure_statuses=_statuses(values.get("failure_statuses")),
        step_headers=_step_headers(values.get("step_headers")),
    )


_remembered: Final = lru_cache(maxsize=1024)(_decode)


def _seconds(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _SECONDS_MAX:
        return value
    return 0


def _headers(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    return {str(name): text for name, text in value.items() if isinstance(text, str)}


def _statuses(value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(one for one in value if isinstance(one, int) and not isinstance(one, bool))


def _step_headers(value: object) -> dict[str, dict[str, str]] | None:
    if not isinstance(value, Mapping):
        return None
    return {str(step): _headers(headers) for step, headers in value.items()} or None
