"""`POST /register`: one saga, and what to answer for each way it can end."""

from typing import Annotated, Any, Final

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from branches.api.identifiers import UserIds
from branches.proto.user import UserRequest
from branches.proto.userscore import UserScoreRequest
from branches.score.service import SCORE_MAX
from branches.settings import ApiSettings
from branches.user.service import GENDER_LENGTH_MAX, NAME_LENGTH_MAX
from coordinator.client import Dtm, DtmError, Failure, Ongoing, Saga, Unreachable

GID_HEADER: Final = "dtm-gid"


class Registration(BaseModel):
    """The body of a request. score: what the new user gets; the score service refuses one over its limit."""

    model_config = ConfigDict(strict=True, extra="ignore")

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=NAME_LENGTH_MAX)]
    gender: str = Field(default="", max_length=GENDER_LENGTH_MAX)
    score: int | None = Field(default=None, ge=0, le=SCORE_MAX)


class Register:
    """The handler; one for the whole application."""

    def __init__(self, dtm: Dtm, settings: ApiSettings, ids: UserIds) -> None:
        self._dtm = dtm
        self._settings = settings
        self._ids = ids

    async def handle(self, request: web.Request) -> web.Response:
        """200 registered, 409 rolled back, 202 still running, 400 bad request, 502 refused, 503 no answer."""
        try:
            registration = await _read(request)
        except BadRequest as error:
            return _answer(400, {"message": str(error)})
        user_id = self._ids.next()
        saga = self._saga(user_id, registration)
        data = {"id": str(user_id), "name": registration.name, "gender": registration.gender}
        try:
            await saga.submit()
        except Failure as failure:
            return _answer(409, {"message": failure.reason, "gid": saga.gid}, saga.gid)
        except Ongoing:
            body = {"message": "accepted, still running", "gid": saga.gid, "data": data}
            return _answer(202, body, saga.gid)
        except Unreachable as error:
            return _answer(503, {"message": error.message, "gid": saga.gid}, saga.gid)
        except DtmError as error:
            return _answer(502, {"message": error.message, "gid": saga.gid}, saga.gid)
        return _answer(200, {"message": "success", "data": data}, saga.gid)

    def _saga(self, user_id: int, registration: Registration) -> Saga:
        settings = self._settings
        user, score = f"{settings.user_rpc.url}/user.User", f"{settings.score_rpc.url}/userscore.UserScore"
        points = settings.score if registration.score is None else registration.score
        return (
            self._dtm.saga(wait_result=True)
            .add(
                f"{user}/saveUser",
                f"{user}/saveUserCallback",
                UserRequest(id=str(user_id), name=registration.name, gender=registration.gender),
            )
            .add(
                f"{score}/saveUserScore",
                f"{score}/saveUserScoreCallback",
                UserScoreRequest(user_id=user_id, score=points),
            )
        )


class BadRequest(Exception):
    """The request cannot be a registration; the message says what to write."""


async def _read(request: web.Request) -> Registration:
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise BadRequest(f"the body is larger than the {request.client_max_size} bytes taken here") from error
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f'the body is not JSON ({error}): write {{"name": "…", "gender": "…"}}') from error
    if not isinstance(content, dict):
        raise BadRequest('the body is JSON, but no object: write {"name": "…", "gender": "…"}')
    try:
        return Registration.model_validate(content)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise BadRequest("; ".join(_sentence(problem) for problem in problems)) from error


def _sentence(problem: Any) -> str:
    place = ".".join(map(str, problem["loc"]))
    return f"{place}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _answer(status: int, body: dict[str, Any], gid: str = "") -> web.Response:
    headers = {GID_HEADER: gid} if gid else None
    return web.Response(
        status=status, body=orjson.dumps(body), content_type="application/json", headers=headers
    )
