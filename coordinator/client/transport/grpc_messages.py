"""The gRPC messages of the protocol ↔ the client's nouns (PROTOCOL §4)."""

from base64 import b64encode
from dataclasses import fields
from typing import Any

import orjson
from betterproto2 import Message

from coordinator.client.errors import DtmError
from coordinator.client.transport.base import Progress, WorkflowState, step_fields
from coordinator.model import BranchStatus, Status, TransactionRequest
from coordinator.proto import dtmgimp


def dtm_request(request: TransactionRequest) -> dtmgimp.DtmRequest:
    """Return the message of a submit, prepare or abort."""
    options = request.options
    steps = [step_fields(step, "") for step in request.steps]
    return dtmgimp.DtmRequest(
        gid=request.gid,
        trans_type=request.trans_type,
        trans_options=dtmgimp.DtmTransOptions(
            wait_result=options.wait_result,
            timeout_to_fail=options.timeout_to_fail,
            retry_interval=options.retry_interval,
            branch_headers=dict(options.branch_headers),
            request_timeout=options.request_timeout,
            retry_limit=options.retry_limit,
            failure_statuses=list(options.failure_statuses),
        ),
        customed_data=request.custom_data,
        bin_payloads=list(request.payloads),
        query_prepared=request.query_prepared,
        steps=orjson.dumps(steps).decode() if steps else "",
        req_extra=dict(request.req_extra),
        rollback_reason=request.rollback_reason,
    )


def workflow_state(reply: dtmgimp.DtmProgressesReply, gid: str) -> WorkflowState:
    """Return what is stored of a workflow. Raises DtmError for an answer that says nothing of one."""
    if reply.transaction is None:
        raise DtmError(f"prepareWorkflow of {gid} answered no transaction", gid=gid)
    try:
        return WorkflowState(
            status=Status(reply.transaction.status),
            rollback_reason=reply.transaction.rollback_reason,
            result=reply.transaction.result,
            progresses=[
                Progress(one.branch_id, one.op, BranchStatus(one.status), one.bin_data, one.url)
                for one in reply.progresses
            ],
            branch_headers=dict(reply.transaction.branch_headers),
            custom_data=reply.transaction.custom_data,
        )
    except ValueError as error:
        raise DtmError(f"prepareWorkflow of {gid} answered something unexpected: {error}", gid=gid) from error


def as_row(message: Message) -> dict[str, Any]:
    """Return a stored row as HTTP's JSON shows it: without what is empty, payloads as base64."""
    row: Any = message
    values = {one.name: getattr(message, one.name) for one in fields(row)}
    return {
        name: b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in values.items()
        if value or isinstance(value, bool)
    }
