"""The key under which an aiohttp request holds its branch context (PROTOCOL §10).

In a module of its own: aiohttp makes such keys only while a module is loaded, in no thread otherwise.
"""

from typing import Any, Final

from aiohttp import web

from coordinator.client.transport.context import BranchContext

# aiohttp before 3.14 has no such class, and takes any text.
BRANCH_KEY: Final[Any] = (
    web.RequestKey("branch", BranchContext) if hasattr(web, "RequestKey") else "dtm.branch"
)
