"""Where a request says which branch it is, whatever the framework (PROTOCOL §10)."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

from aiohttp import web

from coordinator.client.errors import InvalidUse, NoBranchContext
from coordinator.client.transport.context import BranchContext, current_branch

# A BranchContext; an aiohttp request; a Starlette or FastAPI request; a grpclib stream; a grpcio context.
Source: TypeAlias = Any

_AIOHTTP_KEY: Final = web.RequestKey("branch", BranchContext)
_ASGI_KEY: Final = "dtm.branch"
# The call that the running task has asked about, and its branch; grpcio's calls hold nothing by themselves.
_asked: ContextVar[tuple[Any, BranchContext]] = ContextVar("asked")


def branch_of(source: Source) -> BranchContext:
    """Return the branch context of a request (PROTOCOL §10), the same object each time it is asked.

    source: a BranchContext itself, an aiohttp request, a Starlette or FastAPI request, a grpclib stream or a
    grpcio servicer context. Raises NoBranchContext where it carries none, InvalidUse for anything else.
    """
    match source:
        case BranchContext():
            return source
        case web.BaseRequest():
            if _AIOHTTP_KEY not in source:
                source[_AIOHTTP_KEY] = BranchContext.from_query(source.query)
            return source[_AIOHTTP_KEY]
    if hasattr(source, "scope") and hasattr(source, "query_params"):
        return branch_of_scope(source.scope, source.query_params)
    if hasattr(source, "invocation_metadata"):  # grpcio; pairs, of which the last one counts
        return _remembered(source, dict(source.invocation_metadata() or ()))
    if isinstance(getattr(source, "metadata", None), Mapping):  # grpclib
        return _remembered(source, source.metadata)
    raise InvalidUse(
        f"a {type(source).__qualname__} carries no branch context that is known here: hand in the request of "
        "aiohttp, Starlette, grpclib or grpcio, or BranchContext.from_query(…) / from_metadata(…)"
    )


def branch_of_scope(scope: Any, query: Mapping[str, str]) -> BranchContext:
    """Return the branch context of an ASGI scope, the same object each time it is asked."""
    if _ASGI_KEY not in scope:
        scope[_ASGI_KEY] = BranchContext.from_query(query)
    found: BranchContext = scope[_ASGI_KEY]
    return found


def _remembered(source: Any, metadata: Mapping[str, str | bytes]) -> BranchContext:
    fresh = BranchContext.from_metadata(metadata)
    try:
        current = current_branch()
    except NoBranchContext:
        current = None
    if current == fresh:
        return current
    # Without an adapter nobody has made one for this call: another would count its barriers from 01 again.
    asked = _asked.get(None)
    if asked is None or asked[0] is not source:
        asked = (source, fresh)
        _asked.set(asked)
    return asked[1]
