"""What a transaction must keep to before it is stored (PROTOCOL §3, §14). Pure; raises Invalid."""

import re
from functools import lru_cache
from typing import Final

from coordinator.calls.url import check_branch_url
from coordinator.errors import Invalid, Unsupported
from coordinator.model import (
    PROTOCOL_GRPC,
    PROTOCOL_HTTP,
    PROTOCOL_JSON_RPC,
    Branch,
    Options,
    TransactionRequest,
    TransType,
)
from coordinator.patterns import saga
from coordinator.store.options import encode_options

GID_LENGTH_MAX: Final = 128  # characters, as all of these but the payload
URL_LENGTH_MAX: Final = 1024
TEXT_LENGTH_MAX: Final = 1024  # options, custom_data, query_prepared, rollback_reason
PAYLOAD_BYTES_MAX: Final = 65_535  # column bin_data
STEPS_MAX: Final = 1000
SECONDS_MAX: Final = 2**31 - 1  # column next_cron_interval

_URLS_REMEMBERED_MAX: Final = 1024  # a service's few urls come with every transaction
_PROTOCOLS: Final = (PROTOCOL_HTTP, PROTOCOL_GRPC, PROTOCOL_JSON_RPC)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]*")

_url_problem: Final = lru_cache(_URLS_REMEMBERED_MAX)(check_branch_url)


def require_gid(gid: str) -> None:
    """Raise Invalid unless the gid is there, fits its column and has no control character."""
    if not gid:
        raise Invalid("no gid specified")
    _require_length("gid", gid, GID_LENGTH_MAX)
    if _CONTROL.search(gid):
        raise Invalid(f"gid {gid!r} has a control character")


def validated_branches(request: TransactionRequest) -> tuple[Branch, ...]:
    """Check a submit or prepare against every rule, and return the branch rows it asks for.

    Raises Invalid naming the field and the value's problem, Unsupported for a pattern that is not there yet.
    """
    require_gid(request.gid)
    _require_trans_type(request.trans_type)
    if request.protocol not in _PROTOCOLS:
        raise Invalid(f"protocol must be one of {', '.join(_PROTOCOLS)}, not {request.protocol!r}")
    _require_length("query_prepared", request.query_prepared, TEXT_LENGTH_MAX)
    _require_length("custom_data", request.custom_data, TEXT_LENGTH_MAX)
    _require_length("rollback_reason", request.rollback_reason, TEXT_LENGTH_MAX)
    _require_options(request.options)
    _require_steps(request)
    if request.protocol == PROTOCOL_GRPC:
        _require_header_value("gid", request.gid)
    require_order(request.custom_data, request.options, len(request.steps))
    return saga.branches_of(request)


def require_order(custom_data: str, options: Options, steps: int) -> None:
    """Raise Invalid unless a saga of so many steps can run by this custom_data."""
    try:
        saga.order_of(custom_data, options.concurrent, steps)
    except ValueError as error:
        raise Invalid(str(error)) from error


def _require_trans_type(trans_type: str) -> None:
    if trans_type == TransType.SAGA:
        return
    if trans_type in set(TransType):
        raise Unsupported(f"trans_type '{trans_type}' is not supported by this version")
    raise Invalid(f"unknown trans_type '{trans_type}': it must be one of {', '.join(TransType)}")


def _require_options(options: Options) -> None:
    for name in ("timeout_to_fail", "request_timeout", "retry_interval", "retry_limit"):
        value = getattr(options, name)
        if not 0 <= value <= SECONDS_MAX:
            raise Invalid(f"{name} must be between 0 and {SECONDS_MAX}, not {value}")
    for name, value in options.branch_headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise Invalid(f"branch_headers has {name!r}, which is no header name")
        _require_header_value(f"branch_headers[{name!r}]", value)
    if options.branch_headers:
        _require_length("the options as JSON", encode_options(options), TEXT_LENGTH_MAX)


def _require_steps(request: TransactionRequest) -> None:
    steps, payloads = request.steps, request.payloads
    if len(steps) > STEPS_MAX:
        raise Invalid(f"{len(steps)} steps; a transaction may have at most {STEPS_MAX}")
    if len(payloads) != len(steps):
        raise Invalid(f"{len(steps)} steps but {len(payloads)} payloads: each step needs its own")
    for index, (step, payload) in enumerate(zip(steps, payloads, strict=True)):
        _require_url(f"steps[{index}].action", step.action, request.protocol)
        _require_url(f"steps[{index}].compensate", step.compensate, request.protocol)
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise Invalid(f"payloads[{index}] has {len(payload)} bytes; at most {PAYLOAD_BYTES_MAX} fit")


def _require_url(field: str, url: str, protocol: str) -> None:
    if not url:
        return
    _require_length(field, url, URL_LENGTH_MAX)
    problem = _url_problem(url, protocol)
    if problem:
        raise Invalid(f"{field} '{url}' {problem}")


def _require_length(field: str, value: str, most: int) -> None:
    if len(value) > most:
        raise Invalid(f"{field} has {len(value)} characters; at most {most} fit")


def _require_header_value(field: str, value: str) -> None:
    if not _HEADER_VALUE.fullmatch(value):
        raise Invalid(f"{field} {value!r} cannot be sent as a header: it must be printable ASCII")
