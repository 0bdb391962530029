"""The console: every page is a call of the HTTP API whose answer is HTML, also where something went wrong."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final
from urllib.parse import parse_qsl, urlencode

from aiohttp.web import BaseRequest, Response

from coordinator.access.cookies import cookies_in
from coordinator.access.permissions import OPEN, Permission, Principal, looks
from coordinator.api.http_answer import FOR_BROWSERS, Answer
from coordinator.api.http_calls import HttpCall
from coordinator.api.http_request import is_encrypted, query_parameters, read_body
from coordinator.api.paths import path_values
from coordinator.api.room import Room
from coordinator.api.turns import QUERIES_AT_ONCE, Handler, Turns
from coordinator.console import live
from coordinator.console.live import Live
from coordinator.console.own_path import own_path
from coordinator.console.page import Content, File, Page, SeeOther, Shown, Visit
from coordinator.console.rendering import HTML_TYPE, Files, Renderer, Surroundings, headers_of
from coordinator.console.words import LANGUAGES, language_of, words_in
from coordinator.errors import DtmError, Invalid, Unauthenticated

LANGUAGE_COOKIE: Final = "dtm-language"
_FORM_BYTES_MAX: Final = 64 * 1024
_FIELDS_MAX: Final = 100
_STATIC: Final = "/static/{name}"
_YEAR: Final = 365 * 86_400  # seconds
_NOBODY: Final = Principal("", frozenset())  # whoever was not let in


class Console:
    """Makes the calls. bases: before our paths; the first is empty. room: of requests' bytes."""

    def __init__(
        self,
        surroundings: Surroundings,
        pages: Sequence[Page],
        live_: Live,
        room: Room,
        bases: Sequence[str],
        login: str = "",
    ) -> None:
        """login: the path where who is not let in can log in; empty where nobody can."""
        self._files = Files()
        self._pages = [*pages, *self._own()]
        self._renderer = Renderer(surroundings, self._pages, self._files)
        self._live = live_
        self._room = room
        self._bases = bases
        self._login = login
        self._turns = Turns(QUERIES_AT_ONCE)

    def calls(self) -> Sequence[HttpCall]:
        """Every page, below every base."""
        return [call for base in self._bases for call in self._below(base)]

    def _below(self, base: str) -> Sequence[HttpCall]:
        refuse = partial(self._refused, base)
        return [
            *(
                HttpCall(
                    it.method, base + it.path, it.needs, self._handler(base, it), refuse=refuse, is_page=True
                )
                for it in self._pages
            ),
            HttpCall(
                "GET",
                base + live.PATH,
                looks(Permission.READ),
                self._live.answer,
                refuse=refuse,
                is_page=True,
            ),
        ]

    def _own(self) -> Sequence[Page]:
        return (
            Page("GET", _STATIC, OPEN, self._static),
            Page("GET", "/admin/", OPEN, _home),
            Page("GET", "/admin", OPEN, _home),
            Page("GET", "/language", OPEN, _speak),
        )

    async def _static(self, visit: Visit) -> Content:
        found = self._files.get(visit.values["name"])
        if found is None:
            return Shown("error.html", {"heading": "error.nothing_here", "said": "", "hint": ""}, status=404)
        kept = "max-age=31536000, immutable" if visit.query.get("v") == self._files.mark else "no-cache"
        return File(*found, {"Cache-Control": kept})

    def _handler(self, base: str, page: Page) -> Handler:
        async def answer(request: BaseRequest, who: Principal) -> Answer:
            visit = await self._visit(request, who, base, page)
            return self._answer(visit, await page.answer(visit))

        return answer if page.needs.is_open else self._turns.of(answer)

    async def _visit(self, request: BaseRequest, who: Principal, base: str, page: Page) -> Visit:
        values = path_values(base + page.path, request.rel_url.raw_path)
        form: Mapping[str, str] = {}
        if page.method == "POST":
            form = _fields(await read_body(request, _FORM_BYTES_MAX, self._room))
        return _visit(request, who, base, page.path, values, query_parameters(request), form)

    def _refused(self, base: str, request: BaseRequest, error: DtmError) -> Answer:
        """The page that says what went wrong."""
        visit = _visit(request, _NOBODY, base, "/", {}, {}, {})
        if self._login and isinstance(error, Unauthenticated) and _is_by_a_person(request):
            return self._answer(visit, SeeOther(f"{self._login}?{urlencode({'return_to': visit.came_by})}"))
        heading = f"error.of_{error.http_status}"
        if not visit.words.has(heading):
            heading = "error.of_500"
        values = {"heading": heading, "said": error.message, "hint": error.hint}
        return self._answer(visit, Shown("error.html", values, error.http_status))

    def _answer(self, visit: Visit, content: Content) -> Answer:
        if isinstance(content, File):
            headers = {"Content-Type": content.kind, **FOR_BROWSERS, **content.headers}
            return Response(body=content.body, headers=headers_of(headers))
        if isinstance(content, SeeOther):
            target = (
                content.path if content.path.startswith(("https:", "http:")) else visit.base + content.path
            )
            response = Response(status=303, headers=headers_of({"Location": target, **FOR_BROWSERS}))
        else:
            headers = headers_of({"Content-Type": HTML_TYPE, **FOR_BROWSERS, **content.headers})
            response = Response(
                body=self._renderer.html(visit, content), status=content.status, headers=headers
            )
        for cookie in content.cookies:
            response.headers.add("Set-Cookie", cookie)
        return response


def _visit(
    request: BaseRequest,
    who: Principal,
    base: str,
    path: str,
    values: Mapping[str, str],
    query: Mapping[str, str],
    form: Mapping[str, str],
) -> Visit:
    cookies = cookies_in(request.headers.get("Cookie", ""))
    language = language_of(cookies.get(LANGUAGE_COOKIE, ""), request.headers.get("Accept-Language", ""))
    return Visit(
        who=who,
        words=words_in(language),
        base=base,
        path=path,
        values=values,
        query=query,
        form=form,
        came_by=request.rel_url.raw_path_qs.removeprefix(base) or "/",
        cookies=cookies,
        address=request.remote or "",
        host=request.headers.get("Host", ""),
        is_encrypted=is_encrypted(request),
    )


def _is_by_a_person(request: BaseRequest) -> bool:
    """Whether a page was asked for: no stream of a script, nor for a form's sake, which would be lost."""
    return request.method in {"GET", "HEAD"} and "event-stream" not in request.headers.get("Accept", "")


def _fields(body: bytes) -> Mapping[str, str]:
    """A form's fields; of one given twice the first counts. Raises Invalid."""
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS_MAX)
    except UnicodeError as error:
        raise Invalid("the form is not UTF-8") from error
    except ValueError as error:
        raise Invalid(f"the form has more than {_FIELDS_MAX} fields") from error
    for name, value in pairs:
        if "\x00" in value:
            raise Invalid(f"{name}: has a NUL character")
        found.setdefault(name, value)
    return found


async def _home(_: Visit) -> Content:
    return SeeOther("/")


async def _speak(visit: Visit) -> Content:
    language = visit.query.get("to", "")
    if language not in LANGUAGES:
        raise Invalid(f"to: must be one of {', '.join(LANGUAGES)}, not {language[:20]!r}")
    path = visit.base or "/"
    cookie = f"{LANGUAGE_COOKIE}={language}; Path={path}; Max-Age={_YEAR}; HttpOnly; SameSite=Lax"
    return SeeOther(own_path(visit.query.get("back", "/")), (cookie,))
