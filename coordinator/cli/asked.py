"""A coordinator asked over its HTTP API: the answer as JSON, or the end of the command."""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from coordinator.cli.exits import Ended, Exit
from coordinator.cli.profile import Profile

ANSWER_SECONDS: Final = 15.0
_ANSWER_BYTES_MAX: Final = 64 << 20
_NOBODY: Final = "no TransGlobal with gid"
_CODES: Final = {
    401: Exit.FORBIDDEN,
    403: Exit.FORBIDDEN,
    404: Exit.NOT_FOUND,
    409: Exit.REFUSED,
    503: Exit.UNREACHABLE,
}


class Coordinator:
    """seconds: for which each answer is waited for."""

    def __init__(self, profile: Profile, *, seconds: float = ANSWER_SECONDS) -> None:
        self.profile = profile
        self._seconds = seconds

    def get(self, path: str, **given: str) -> Any:
        """What it answers to GET. given: the query. Raises Ended."""
        query = urlencode({name: value for name, value in given.items() if value})
        return self._ask("GET", f"{path}?{query}" if query else path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What it answers to POST. Raises Ended."""
        return self._ask("POST", path, json.dumps(body).encode())

    def post_or_conflict(self, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """The status, 200 or 409, which says what stands there now, and the answer to POST. Raises Ended."""
        status, said = self._exchange("POST", path, json.dumps(body).encode())
        answer = _json(said)
        if status == 409 and isinstance(answer, dict):
            return status, answer
        return 200, self._understood(status, answer)

    def delete(self, path: str) -> Any:
        """What it answers to DELETE. Raises Ended."""
        return self._ask("DELETE", path, None)

    def ready(self) -> dict[str, Any]:
        """What /api/ready says, be it ready or not. Raises Ended."""
        status, body = self._exchange("GET", "/api/ready", None)
        answer = _json(body)
        if status not in (200, 503) or not isinstance(answer, dict) or "ready" not in answer:
            raise Ended(Exit.UNREACHABLE, f"{self.profile.url} answers {status}: is it a coordinator?")
        return answer

    def text(self, path: str) -> str:
        """What it answers to GET, where that is no JSON. Raises Ended."""
        status, said = self._exchange("GET", path, None)
        if status != 200:
            raise Ended(_CODES.get(status, Exit.NOT_WELL), f"{self.profile.url}{path} answers {status}")
        return said.decode(errors="replace")

    def _ask(self, method: str, path: str, body: bytes | None) -> Any:
        status, said = self._exchange(method, path, body)
        return self._understood(status, _json(said))

    def _understood(self, status: int, answer: Any) -> Any:
        if status == 200:
            if not isinstance(answer, dict):
                raise Ended(Exit.UNREACHABLE, f"{self.profile.url} answers no JSON: is it a coordinator?")
            return _Answer(self.profile.url, answer)
        message = answer.get("message") if isinstance(answer, dict) else None
        if not isinstance(message, str):
            raise Ended(Exit.UNREACHABLE, f"{self.profile.url} answers {status}: is it a coordinator?")
        code = Exit.NOT_FOUND if message.startswith(_NOBODY) else _CODES.get(status, Exit.NOT_WELL)
        if code is Exit.FORBIDDEN:
            message += "; set DTM_TOKEN, or `token` in the profile file (docs/security.md)"
        raise Ended(code, message)

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        url = f"{self.profile.url}{path}"
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self.profile.token:
            headers["Authorization"] = f"Bearer {self.profile.token}"
        request = urllib.request.Request(url, data=body, headers=headers, method=method)
        try:
            with self._opener().open(request, timeout=self._seconds) as answer:
                return answer.status, answer.read(_ANSWER_BYTES_MAX)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(_ANSWER_BYTES_MAX)
        except TimeoutError as error:
            raise self._late() from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise self._late() from error
            raise Ended(Exit.UNREACHABLE, f"{self.profile.url} cannot be reached: {error.reason}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Ended(Exit.UNREACHABLE, f"{self.profile.url} cannot be reached: {error}") from error

    def _late(self) -> Ended:
        return Ended(Exit.TIMED_OUT, f"{self.profile.url} gave no answer within {self._seconds:g} s")

    def _opener(self) -> urllib.request.OpenerDirector:
        profile = self.profile
        try:
            context = ssl.create_default_context(cafile=profile.ca_file or None)
            if profile.cert_file:  # a key's password is asked of nobody
                context.load_cert_chain(profile.cert_file, profile.key_file or None, password="")
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(filter(None, (profile.ca_file, profile.cert_file, profile.key_file)))
            raise Ended(Exit.USAGE, f"a file of these cannot be used for TLS, {files}: {error}") from error
        # Without redirects: a token must not follow one to somebody else.
        return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect)


class _Answer(dict[str, Any]):
    """What a coordinator answers; who asks for what is not there has asked somebody else."""

    def __init__(self, url: str, answer: Mapping[str, Any]) -> None:
        super().__init__(answer)
        self._url = url

    def __missing__(self, key: str) -> Any:
        """Raises Ended."""
        raise Ended(Exit.UNREACHABLE, f"{self._url} answers without {key!r}: is it a coordinator?")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Not followed: its answer counts as it is."""


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
