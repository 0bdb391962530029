"""Server reflection, v1 and v1alpha: grpclib's answers, from protobuf's default pool."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from grpclib.reflection.service import ServerReflection

from coordinator.api.grpc_call import Answer, Call
from coordinator.api.grpc_messages import received

REFLECTIONS: Final = (
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)


def reflection(services: Collection[str]) -> Mapping[str, Answer]:
    """The method of each version, by its path. services: that are listed, by their full names."""
    answers: dict[str, Answer] = {}
    for service in ServerReflection.extend([_Named(name) for name in services])[len(services) :]:
        for path, handler in service.__mapping__().items():
            answers[path] = _answer(handler.func, handler.request_type)
    return answers


def _answer(func: Any, request_type: Any) -> Answer:
    async def answer(call: Call) -> None:
        call.incoming.stay()
        await func(_Stream(call, request_type))
        call.end()

    return answer


class _Named:
    """A service of which grpclib asks nothing but its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __mapping__(self) -> Mapping[str, Any]:
        return {f"/{self._name}/": None}


class _Stream:
    """A call as grpclib's reflection has one."""

    def __init__(self, call: Call, request_type: Any) -> None:
        self._call = call
        self._request_type = request_type

    async def send_message(self, message: Any) -> None:
        await self._call.send(message.SerializeToString())

    def __aiter__(self) -> "_Stream":
        return self

    async def __anext__(self) -> Any:
        message = await received(self._request_type, self._call)
        if message is None:
            raise StopAsyncIteration
        return message
