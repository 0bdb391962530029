"""What a transaction must keep to before it is stored (PROTOCOL §3, §14). Pure; raises Invalid."""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Final

from coordinator.backoff import Timing
from coordinator.calls.branch_urls import BranchUrls
from coordinator.calls.url import is_http
from coordinator.errors import Invalid, InvalidBranch, InvalidTopic
from coordinator.model import (
    PROTOCOL_GRPC,
    PROTOCOL_HTTP,
    PROTOCOL_JSON_RPC,
    Branch,
    BranchRequest,
    BranchStatus,
    Op,
    Options,
    TransactionRequest,
    TransType,
)
from coordinator.patterns import msg, saga, workflow
from coordinator.service.option_bounds import (
    SECONDS_MAX,
    require_header_value,
    require_length,
    require_options,
    require_seconds,
)
from coordinator.service.step_results import check_step_results
from coordinator.store.limits import BYTES_MAX, GID_MAX, NAME_MAX, TEXT_MAX

GID_LENGTH_MAX: Final = GID_MAX  # characters, as all of these but the payload
URL_LENGTH_MAX: Final = TEXT_MAX
TEXT_LENGTH_MAX: Final = TEXT_MAX  # options, custom_data, query_prepared, rollback_reason
PAYLOAD_BYTES_MAX: Final = BYTES_MAX  # column bin_data
OP_LENGTH_MAX: Final = NAME_MAX
TOPIC_LENGTH_MAX: Final = GID_MAX  # column k
STEPS_MAX: Final = 1000

_TRANS_TYPES: Final = frozenset(TransType)
_BRANCH_STATUSES: Final = tuple(status.value for status in BranchStatus)
_PROTOCOLS: Final = (PROTOCOL_HTTP, PROTOCOL_GRPC, PROTOCOL_JSON_RPC)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_DIGITS: Final = re.compile(r"[0-9]{1,10}")


def require_gid(gid: str) -> None:
    """Raise Invalid unless the gid is there, fits its column and has no control character."""
    if not gid:
        raise Invalid("no gid specified")
    require_length("gid", gid, GID_LENGTH_MAX)
    if _CONTROL.search(gid):
        raise Invalid(f"gid {gid!r} has a control character")


def require_text(field: str, value: str) -> None:
    """Raise Invalid unless the text fits a column and every database can hold it (PROTOCOL §14)."""
    require_length(field, value, TEXT_LENGTH_MAX)
    if "\x00" in value:  # PostgreSQL's text has none
        raise Invalid(f"{field} has a NUL character")


def require_topic(topic: str) -> None:
    """Raise InvalidTopic unless a topic may have this name (PROTOCOL §8)."""
    if not topic:
        raise InvalidTopic("empty topic")
    try:
        _require_name("topic", topic, TOPIC_LENGTH_MAX)
    except Invalid as error:
        raise InvalidTopic(error.message) from error


def require_subscription(topic: str, url: str, remark: str, urls: BranchUrls) -> None:
    """Raise InvalidTopic unless this url may subscribe to the topic: a message's call of it must be possible.

    Which protocol a message will have is not known here: one of the two must do.
    """
    require_topic(topic)
    if not url:
        raise InvalidTopic("empty url")
    try:
        require_length("url", url, URL_LENGTH_MAX)
        require_text("remark", remark)
    except Invalid as error:
        raise InvalidTopic(error.message) from error
    over_http, over_grpc = urls.problem(url, PROTOCOL_HTTP), urls.problem(url, PROTOCOL_GRPC)
    if over_http and over_grpc:
        if is_http(url):
            raise InvalidTopic(f"url '{url}' {over_http}")
        raise InvalidTopic(f"url '{url}' can be called neither over HTTP nor over gRPC: it {over_grpc}")


def topics_of(request: TransactionRequest) -> Collection[str]:
    """The topics that a message's steps name; none for every other type."""
    if request.trans_type != TransType.MSG:
        return ()
    return {topic for step in request.steps if (topic := msg.topic_of(step.action)) is not None}


def validated_branches(
    request: TransactionRequest,
    subscribers: Mapping[str, Sequence[str]],
    timing: Timing,
    urls: BranchUrls,
    *,
    no_results: str = "",
) -> tuple[Branch, ...]:
    """Check a submit or prepare against every rule, and return the branch rows it asks for.

    subscribers: the urls of every topic of `topics_of(request)`. timing: the most that clients may ask for.
    urls: which can and may be called. no_results: why steps cannot keep theirs; empty where they can.
    Raises Invalid naming the field and the value's problem.
    """
    require_gid(request.gid)
    if request.trans_type not in _TRANS_TYPES:
        raise Invalid(f"unknown trans_type '{request.trans_type}': it must be one of {', '.join(TransType)}")
    if request.protocol not in _PROTOCOLS:
        raise Invalid(f"protocol must be one of {', '.join(_PROTOCOLS)}, not {request.protocol!r}")
    require_text("query_prepared", request.query_prepared)
    require_text("custom_data", request.custom_data)
    require_text("rollback_reason", request.rollback_reason)
    require_options(request.options, request.protocol, timing)
    if request.protocol == PROTOCOL_GRPC:
        require_header_value("gid", request.gid)
    match request.trans_type:
        case TransType.SAGA:
            _require_steps(request, urls)
            check_step_results(request, missing=no_results)
            branches = saga.branches_of(request)
        case TransType.MSG:
            _require_steps(request, urls)
            check_step_results(request)
            _require_url("query_prepared", request.query_prepared, request.protocol, urls)
            _require_few_calls(request, subscribers)
            branches = msg.branches_of(request, subscribers)
            _require_callable_subscribers(branches, request.protocol, urls)
        case TransType.WORKFLOW:
            _require_url("query_prepared", request.query_prepared, request.protocol, urls)
            branches = ()
        case _:  # tcc and xa register theirs later
            branches = ()
    check_custom_data(request.trans_type, request.custom_data, request.options, len(request.steps))
    if request.trans_type == TransType.MSG:
        delay = msg.custom_of(request.custom_data).delay
        require_seconds("custom_data.delay", delay, timing.option_seconds_max, "OptionSecondsMax")
    if request.trans_type == TransType.WORKFLOW and request.protocol == PROTOCOL_GRPC:
        require_header_value("custom_data.name", workflow.custom_of(request.custom_data).name)
    return branches


def check_custom_data(trans_type: str, custom_data: str, options: Options, steps: int) -> None:
    """Raise Invalid unless custom_data is what its type needs. steps: how many a saga has."""
    try:
        match trans_type:
            case TransType.SAGA:
                saga.order_of(custom_data, options.concurrent, steps)
            case TransType.MSG:
                msg.custom_of(custom_data)
            case TransType.WORKFLOW:
                workflow.custom_of(custom_data)
    except ValueError as error:
        raise Invalid(str(error)) from error


def registered_branches(request: BranchRequest, urls: BranchUrls) -> tuple[Branch, ...]:
    """Check a registerBranch and return its rows (PROTOCOL §5): two for tcc and xa, one for a workflow.

    Clients choose branch_id and op themselves. Raises InvalidBranch naming the field.
    """
    try:
        require_gid(request.gid)
        _require_name("branch_id", request.branch_id, GID_LENGTH_MAX)
        if len(request.payload) > PAYLOAD_BYTES_MAX:
            raise Invalid(f"data has {len(request.payload)} bytes; at most {PAYLOAD_BYTES_MAX} fit")
        return _rows_of(request, urls)
    except Invalid as error:
        raise InvalidBranch(error.message) from error


def wake_after(request: BranchRequest) -> int | None:
    """Seconds after which a workflow that sleeps is to be called back; None where it does not.

    Raises InvalidBranch.
    """
    given = request.data.get("wake_after", "") if request.trans_type == TransType.WORKFLOW else ""
    if not given:
        return None
    if not _DIGITS.fullmatch(given) or int(given) > SECONDS_MAX:
        raise InvalidBranch(f"wake_after must be seconds, 0 to {SECONDS_MAX}, not '{given}'")
    return int(given)


def _rows_of(request: BranchRequest, urls: BranchUrls) -> tuple[Branch, ...]:
    data, new = request.data, partial(Branch, request.gid, request.branch_id, payload=request.payload)
    match request.trans_type:
        case TransType.TCC:
            keys = [(Op.CANCEL, Op.CANCEL.value), (Op.CONFIRM, Op.CONFIRM.value)]
        case TransType.XA:
            keys = [(Op.ROLLBACK, "url"), (Op.COMMIT, "url")]
        case TransType.WORKFLOW:
            op, status = data.get("op", ""), data.get("status", "")
            _require_name("op", op, OP_LENGTH_MAX)
            if status not in _BRANCH_STATUSES:
                raise Invalid(f"status must be one of {', '.join(_BRANCH_STATUSES)}, not '{status}'")
            name = data.get("url", "")  # what its client calls the step: shown and handed back, never called
            require_length("url", name, URL_LENGTH_MAX)
            if _CONTROL.search(name):
                raise Invalid(f"url {name!r} has a control character")
            return (new(op, name, status=BranchStatus(status)),)
        case _:
            raise Invalid(f"unknow trans type: {request.trans_type}")
    for _, key in keys:
        _require_callable(key, data.get(key, ""), request.branch_id, urls)
    return tuple(new(op, data.get(key, "")) for op, key in keys)


def _require_name(field: str, value: str, most: int) -> None:
    if not value:
        raise Invalid(f"{field} is missing")
    require_length(field, value, most)
    if _CONTROL.search(value):
        raise Invalid(f"{field} {value!r} has a control character")


def _require_callable(field: str, url: str, branch_id: str, urls: BranchUrls) -> None:
    """A branch's url, whose transaction's protocol is not known here: one of the two must do."""
    if not url:
        return
    require_length(field, url, URL_LENGTH_MAX)
    if is_http(url):
        _require_url(field, url, PROTOCOL_HTTP, urls)
    else:
        _require_url(field, url, PROTOCOL_GRPC, urls)
        require_header_value("branch_id", branch_id)


def _require_few_calls(request: TransactionRequest, subscribers: Mapping[str, Sequence[str]]) -> None:
    # Counted before a row is made: a thousand steps to topics of a thousand would be a million.
    topics = (msg.topic_of(step.action) for step in request.steps)
    calls = sum(1 if topic is None else len(subscribers[topic]) for topic in topics)
    if calls > STEPS_MAX:
        raise Invalid(f"{calls} calls, topics' subscribers counted; at most {STEPS_MAX} fit")


def _require_callable_subscribers(branches: Sequence[Branch], protocol: str, urls: BranchUrls) -> None:
    for branch in branches:
        _require_url(f"the url of branch {branch.branch_id}", branch.url, protocol, urls)


def _require_steps(request: TransactionRequest, urls: BranchUrls) -> None:
    steps, payloads = request.steps, request.payloads
    if len(steps) > STEPS_MAX:
        raise Invalid(f"{len(steps)} steps; a transaction may have at most {STEPS_MAX}")
    if len(payloads) != len(steps):
        counts = f"{_counted(len(steps), 'step')} but {_counted(len(payloads), 'payload')}"
        raise Invalid(f"{counts}: each step needs its own")
    is_message = request.trans_type == TransType.MSG
    for index, (step, payload) in enumerate(zip(steps, payloads, strict=True)):
        if not (is_message and msg.topic_of(step.action) is not None):
            _require_url(f"steps[{index}].action", step.action, request.protocol, urls)
        _require_url(f"steps[{index}].compensate", step.compensate, request.protocol, urls)
        if len(step.compensate_payload or b"") > PAYLOAD_BYTES_MAX:
            raise Invalid(f"steps[{index}].compensate_payload: at most {PAYLOAD_BYTES_MAX} bytes fit")
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise Invalid(f"payloads[{index}] has {len(payload)} bytes; at most {PAYLOAD_BYTES_MAX} fit")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _require_url(field: str, url: str, protocol: str, urls: BranchUrls) -> None:
    if not url:
        return
    require_length(field, url, URL_LENGTH_MAX)
    problem = urls.problem(url, protocol)
    if problem:
        raise Invalid(f"{field} '{url}' {problem}")
