"""What /api/operate/ says and does of endpoints, as methods of the gRPC service `dtmcoordinator.Operate`."""

from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from typing import Any, Final

from coordinator.access.audit import Actor
from coordinator.access.permissions import Permission, Principal, changes, looks
from coordinator.api.grpc_messages import decoded, message_class
from coordinator.api.grpc_operator import OperatorMethod
from coordinator.api.masking import endpoint_shown_to
from coordinator.api.render_endpoints import EndpointRenderer
from coordinator.api.turns import LISTS_AT_ONCE, Turns
from coordinator.service.endpoints import Endpoints
from coordinator.watching.endpoint_record import LATELY_SECONDS

_PACKAGE: Final = "dtmcoordinator"
Asked = tuple[Any, Principal]


def endpoint_methods(endpoints: Endpoints, zone: tzinfo | None) -> Sequence[OperatorMethod]:
    """Every method about them. zone: of times shown."""
    answers = _Answers(endpoints, zone)
    read, operate = looks(Permission.READ), changes(Permission.OPERATE)
    asked = _reader("HoldRequest")
    return (
        OperatorMethod("Endpoints", read, (_of("EndpointsRequest"), answers.endpoints, bytes)),
        OperatorMethod("Holds", read, (lambda _, who: who, answers.holds, bytes)),
        OperatorMethod("PreviewHold", read, (_of("HoldRequest"), answers.preview, bytes)),
        OperatorMethod("Hold", operate, act=(asked, answers.hold, bytes)),
        OperatorMethod("Release", operate, act=(_reader("ReleaseRequest"), answers.release)),
    )


class _Answers:
    """Returns encoded replies."""

    def __init__(self, endpoints: Endpoints, zone: tzinfo | None) -> None:
        self._endpoints = endpoints
        self._render = EndpointRenderer(zone)
        self._lists = Turns(LISTS_AT_ONCE)

    async def endpoints(self, asked: Asked) -> bytes:
        """Every endpoint, or the one that is asked for."""
        message, who = asked
        async with self._lists.turn():
            wanted = message.endpoint
            found = [await self._endpoints.one(wanted)] if wanted else await self._endpoints.all()
            shown = [self._render.endpoint(endpoint_shown_to(who, it)) for it in found]
            return _encoded("EndpointsReply", {"endpoints": shown, "lately_seconds": LATELY_SECONDS})

    async def holds(self, _: Principal) -> bytes:
        """What is held."""
        return _encoded("HoldsReply", {"holds": [self._render.hold(it) for it in self._endpoints.holds()]})

    async def preview(self, asked: Asked) -> bytes:
        """What a hold would mean."""
        message, who = asked
        async with self._lists.turn():
            made = await self._endpoints.preview(message.endpoint, message.seconds, message.reason, who.name)
            shown = self._render.preview(made, endpoint_shown_to(who, made.seen))
            return _encoded("HoldPreview", shown)

    async def hold(self, message: Any, by: Actor) -> bytes:
        """Hold it."""
        hold = await self._endpoints.hold(message.endpoint, message.seconds, message.reason, by)
        return _encoded("EndpointHold", self._render.hold(hold))

    async def release(self, message: Any, by: Actor) -> None:
        """Hold it no more."""
        await self._endpoints.release(message.endpoint, by, message.reason)


def _reader(name: str) -> Callable[[bytes], Any]:
    kind = message_class(f"{_PACKAGE}.{name}")
    return lambda data: decoded(kind, data)


def _of(name: str) -> Callable[[bytes, Principal], Asked]:
    read = _reader(name)
    return lambda data, who: (read(data), who)


def _encoded(name: str, content: Mapping[str, Any]) -> bytes:
    encoded: bytes = message_class(f"{_PACKAGE}.{name}")(**content).SerializeToString()
    return encoded
