"""Where a request says which branch it is, whatever the framework (PROTOCOL §10)."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

from coordinator.client.errors import InvalidUse, NoBranchContext
from coordinator.client.frameworks.local_call import LocalCall
from coordinator.client.transport.context import BranchContext, current_branch

# A BranchContext; a LocalCall; an aiohttp request; a Starlette or FastAPI request; a grpclib stream; a
# grpcio context.
Source: TypeAlias = Any

_KEY: Final = "dtm.branch"
# The call that the running task has asked about, and its branch; grpcio's calls hold nothing by themselves.
_asked: ContextVar[tuple[Any, BranchContext]] = ContextVar("asked")


def branch_of(source: Source) -> BranchContext:
    """Return the branch context of a request (PROTOCOL §10), the same object each time it is asked.

    source: a BranchContext itself, a LocalCall, an aiohttp request, a Starlette or FastAPI request, a grpclib
    stream or a grpcio servicer context. Raises NoBranchContext where it carries none, InvalidUse for anything
    else.
    """
    if isinstance(source, BranchContext):
        return source
    if isinstance(source, LocalCall):
        return source.branch
    if is_of(source, "aiohttp.web_request"):
        return _of_aiohttp(source)
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
    if _KEY not in scope:
        scope[_KEY] = BranchContext.from_query(query)
    found: BranchContext = scope[_KEY]
    return found


def is_of(thing: object, module: str) -> bool:
    """Whether its class, or one that it is made from, is of that module, which is not loaded for that."""
    return any(one.__module__ == module for one in type(thing).__mro__)


def _of_aiohttp(request: Any) -> BranchContext:
    from coordinator.client.frameworks.aiohttp_key import BRANCH_KEY

    if BRANCH_KEY not in request:
        request[BRANCH_KEY] = BranchContext.from_query(request.query)
    found: BranchContext = request[BRANCH_KEY]
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
