"""Errors as the protocol's HTTP answers, whatever the framework (PROTOCOL §2)."""

import orjson

from coordinator.client.errors import FAILURE_WORD, ONGOING_WORD, DtmError, Failure, Ongoing


def json_body(error: DtmError) -> bytes:
    """Return the body that goes with `error.http_status`."""
    body = {"message": _unmistakable(error.told)}
    if isinstance(error, Failure):
        body["dtm_result"] = FAILURE_WORD
    elif isinstance(error, Ongoing):
        body["dtm_result"] = ONGOING_WORD
    return orjson.dumps(body)


def _unmistakable(message: str) -> str:
    # Coordinators look for these words anywhere in a body, ONGOING first: within a sentence they would
    # change the result.
    return message.replace(ONGOING_WORD, ONGOING_WORD.lower()).replace(FAILURE_WORD, FAILURE_WORD.lower())
