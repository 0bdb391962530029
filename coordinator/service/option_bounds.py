"""What a transaction's options must keep to (PROTOCOL §5, §14). Pure; raises Invalid."""

import re
from collections.abc import Mapping
from typing import Final

from coordinator.backoff import Timing
from coordinator.calls.grpc_headers import METADATA_NAME
from coordinator.errors import Invalid
from coordinator.model import GRPC_REFUSALS, HTTP_REFUSALS, PROTOCOL_GRPC, Options
from coordinator.store.limits import TEXT_MAX
from coordinator.store.options import encode_options

HEADERS_MAX: Final = 200  # more would not fit the options column, and take long to look at
SECONDS_MAX: Final = 2**31 - 1  # column next_cron_interval

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]*")


def require_options(options: Options, protocol: str, timing: Timing) -> None:
    """Raise Invalid, naming the option, unless all are ones that can be kept and sent."""
    for name in ("timeout_to_fail", "request_timeout", "retry_interval", "retry_limit"):
        value = getattr(options, name)
        if not 0 <= value <= SECONDS_MAX:
            raise Invalid(f"{name} must be between 0 and {SECONDS_MAX}, not {value}")
    require_seconds("request_timeout", options.request_timeout, timing.longest_call, "RequestTimeoutMax")
    for name in ("timeout_to_fail", "retry_interval"):
        require_seconds(name, getattr(options, name), timing.option_seconds_max, "OptionSecondsMax")
    _require_headers("branch_headers", options.branch_headers, protocol)
    for branch_id, headers in (options.step_headers or {}).items():
        _require_headers(f"steps[{int(branch_id) - 1}].headers", headers, protocol)
    for status in set(options.failure_statuses) - HTTP_REFUSALS - GRPC_REFUSALS:
        raise Invalid(f"failure_statuses has {status}, which is no refusal: 400 to 499, or one of gRPC's")
    if options.branch_headers or options.step_headers or options.failure_statuses:
        require_length("the options as JSON", encode_options(options), TEXT_MAX)


def _require_headers(field: str, headers: Mapping[str, str], protocol: str) -> None:
    if len(headers) > HEADERS_MAX:
        raise Invalid(f"{field} has {len(headers)} entries; at most {HEADERS_MAX} fit")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise Invalid(f"{field} has {name!r}, which is no header name")
        if name.lower() == "host":
            raise Invalid(f"{field} has {name!r}: the url of a branch says which host is called")
        if protocol == PROTOCOL_GRPC and not METADATA_NAME.fullmatch(name.lower()):
            raise Invalid(f"{field} has {name!r}, which is no name of gRPC metadata")
        require_header_value(f"{field}[{name!r}]", value)


def require_seconds(field: str, value: float, most: int, key: str) -> None:
    """Raise Invalid for more than the most, in seconds, that the setting `key` allows."""
    if value > most:
        raise Invalid(f"{field} {value} s: the most is {most} ({key})")


def require_length(field: str, value: str, most: int) -> None:
    """Raise Invalid for more than so many characters."""
    if len(value) > most:
        raise Invalid(f"{field} has {len(value)} characters; at most {most} fit")


def require_header_value(field: str, value: str) -> None:
    """Raise Invalid for what no header can hold."""
    if not _HEADER_VALUE.fullmatch(value):
        raise Invalid(f"{field} {value!r} cannot be sent as a header: it must be printable ASCII")
