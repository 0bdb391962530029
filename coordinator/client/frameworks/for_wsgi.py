"""Blocking frameworks: the branch context of their requests, and errors as answers (PROTOCOL §2, §10).

Imports none of them: a request is known by what it has.
"""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

from coordinator.client.errors import DtmError, InvalidUse
from coordinator.client.frameworks.request import Source, branch_of
from coordinator.client.transport.context import BranchContext
from coordinator.client.transport.http_answer import json_body

_ENVIRON_KEY: Final = "dtm.branch"

# Body, status, headers: what a Flask view may return as it is.
HttpAnswer: TypeAlias = tuple[bytes, int, dict[str, str]]
StartResponse: TypeAlias = Callable[..., Any]
Answer: TypeAlias = Callable[[BranchContext, bytes], bytes]


def blocking_branch_of(source: Source) -> BranchContext:
    """Of a Flask or Django request, or a WSGI environ, the same object each time; else as `branch_of`."""
    query, environ = _query_and_environ(source)
    if environ is None:
        return branch_of(source)
    if _ENVIRON_KEY not in environ:
        environ[_ENVIRON_KEY] = BranchContext.from_query(query)
    found: BranchContext = environ[_ENVIRON_KEY]
    return found


def request_among(arguments: Iterable[object]) -> Source | None:
    """Return the first one that says which branch it is: a request, grpcio's context, a BranchContext."""
    for one in arguments:
        if isinstance(one, BranchContext) or hasattr(one, "invocation_metadata"):
            return one
        if _query_and_environ(one)[1] is not None:
            return one
    return None


def answer_request(request: Source, answer: Answer) -> HttpAnswer:
    """Return what `answer` makes of a request of Flask or Django; its DtmErrors become answers.

    Raises InvalidUse for a request of another kind.
    """
    body = _body_of(request)
    try:
        return answer(blocking_branch_of(request), body), HTTPStatus.OK, _headers()
    except DtmError as error:
        return error_answer(error)


def answer_wsgi(environ: dict[str, Any], start_response: StartResponse, answer: Answer) -> Iterable[bytes]:
    """The same for WSGI itself."""
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        sent = environ["wsgi.input"].read(length) if length > 0 else b""
        body, status, headers = answer(blocking_branch_of(environ), sent), int(HTTPStatus.OK), _headers()
    except DtmError as error:
        body, status, headers = error_answer(error)
    headers["Content-Length"] = str(len(body))
    start_response(f"{status} {HTTPStatus(status).phrase}", list(headers.items()))
    return [body]


def error_answer(error: DtmError) -> HttpAnswer:
    """Return body, status and headers for an error: Failure 409, Ongoing 425, any other asked again (§2).

    Example:
        flask_application.register_error_handler(DtmError, error_answer)

        def process_exception(self, request, error):  # of a Django middleware
            if isinstance(error, DtmError):
                body, status, headers = error_answer(error)
                return HttpResponse(body, status=status, headers=headers)
    """
    return json_body(error), error.http_status, _headers()


def _headers() -> dict[str, str]:
    return {"Content-Type": "application/json"}


def _query_and_environ(source: Source) -> tuple[Any, dict[str, Any] | None]:
    if isinstance(source, dict) and "wsgi.input" in source:
        return dict(parse_qsl(source.get("QUERY_STRING", ""))), source
    for query_name, environ_name in (("args", "environ"), ("GET", "META")):  # Flask; Django
        query, environ = getattr(source, query_name, None), getattr(source, environ_name, None)
        if query is not None and isinstance(environ, dict):
            return query, environ
    return None, None


def _body_of(request: Source) -> bytes:
    if callable(get_data := getattr(request, "get_data", None)):  # Flask
        return bytes(get_data())
    if isinstance(body := getattr(request, "body", None), bytes):  # Django
        return body
    raise InvalidUse(
        f"a {type(request).__qualname__} has no body that is known here: hand in the request of Flask or "
        "Django, or mount `Workflows.wsgi`"
    )
