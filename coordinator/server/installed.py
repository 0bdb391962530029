"""Whether the console's libraries are installed, and what stands in its place where they are not."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from aiohttp.web import BaseRequest, Response

from coordinator.access.permissions import OPEN, Principal
from coordinator.api.http_answer import FOR_BROWSERS, TEXT_TYPE, Answer
from coordinator.api.http_calls import HttpCall

_LIBRARIES: Final = ("jinja2", "markupsafe", "argon2", "jwt")  # of the extra `console`
_STATUS: Final = 501


def missing_of_console() -> str:
    """The first library of the console that is not installed; empty where all are."""
    return next((name for name in _LIBRARIES if find_spec(name) is None), "")


class NotInstalled:
    """Says at the console's addresses what to install. library: that is missing. base: see Console."""

    def __init__(self, library: str, base: str) -> None:
        self._text = (
            f"The console needs {library}, which is not installed here:"
            " pip install 'dtm-coordinator[console]', and start the coordinator again.\n"
        ).encode()
        self._bases = {"", base.strip("/") and "/" + base.strip("/")}

    def calls(self) -> Sequence[HttpCall]:
        """One for each place where people look for it."""
        paths = sorted({f"{base}{path}" for base in self._bases for path in ("/", "/admin/", "/login")})
        return [HttpCall("GET", path, OPEN, self._answer) for path in paths]

    async def _answer(self, _request: BaseRequest, _who: Principal) -> Answer:
        return Response(body=self._text, status=_STATUS, headers={"Content-Type": TEXT_TYPE, **FOR_BROWSERS})
