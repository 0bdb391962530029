"""Who makes a gRPC call."""

from coordinator.access.gate import Door
from coordinator.access.permissions import Principal
from coordinator.api.grpc_call import Answer, Call


async def entered(door: Door, call: Call) -> Principal:
    """Who makes this call. Raises as Door.enter does."""
    shown = call.peer.certificate if door.reads_certificates else None
    return await door.enter(call.head.credentials, call.peer.address, shown)


def guarded(door: Door, answer: Answer) -> Answer:
    """The answer, for who may call for it."""
    if not door.is_watched:
        return answer

    async def let_in(call: Call) -> None:
        await entered(door, call)
        await answer(call)

    return let_in
