"""What can be said of a branch's url before it is called: whether it can be, and whether it may be."""

from collections.abc import Collection
from functools import lru_cache
from typing import Final

from coordinator.calls.places import Places
from coordinator.calls.url import is_http, parse_grpc_url, parse_http_url
from coordinator.discovery.local import is_local, problem_of
from coordinator.discovery.target import host_and_port, parse_target
from coordinator.model import PROTOCOL_GRPC
from coordinator.results import MARKS

_URLS_REMEMBERED_MAX: Final = 1024  # a service's few urls come with every transaction


class BranchUrls:
    """places: where branches may live. functions: that can be called by name; None: none can be.

    problem: of a url and its protocol, as `_problem` says; remembered, as a look costs a tenth of a call.
    """

    def __init__(self, places: Places, functions: Collection[str] | None = None) -> None:
        self._places = places
        self._functions = functions
        self.problem = lru_cache(_URLS_REMEMBERED_MAX)(self._problem)
        places.when_changed(self.problem.cache_clear)

    def _problem(self, url: str, protocol: str) -> str:
        """Say what keeps the url from ever being called, as the end of a sentence: `has no host`.

        protocol: the transaction's; `grpc` transactions may mix in `http://` branches. Empty when nothing
        does, as far as is known before its host is looked up, and for an empty url: success without a call.
        """
        for mark in MARKS:
            if url.startswith(mark):
                return f"begins with {mark}, which is this server's own: ask for keep_result"
        if is_local(url):
            return problem_of(url, self._functions)
        problem, places = _parsed(url, protocol)
        if problem:
            return problem
        for host, port in places:
            if problem := self._places.problem_of_name(host, port):
                return f"may not be called: {problem}"
        return ""


def _parsed(url: str, protocol: str) -> tuple[str, tuple[tuple[str, int], ...]]:
    """What is wrong with the url, or the host and port of each server that it names."""
    if not url:
        return "", ()
    try:
        if protocol == PROTOCOL_GRPC and not is_http(url):
            target = parse_target(parse_grpc_url(url).target)
            return "", tuple(map(host_and_port, target.hosts))
        parsed = parse_http_url(url).url
    except ValueError as error:
        return str(error), ()
    return "", ((parsed.raw_host or "", parsed.port or 0),)
