"""A coordinator in a program's own process, functions as branches. Imports server, client, config and below.

from coordinator.embedded import Coordinator

async with Coordinator.embedded("sqlite:///orders.db", functions=[take, put_back]) as coordinator:
    saga = coordinator.client.saga(wait_result=True)
    saga.add("local://take", "local://put_back", {"item": "pear"})
    await saga.submit()
"""

from coordinator.client.extras import brought_by

with brought_by("server"):
    from coordinator.embedded.coordinator import Coordinator
    from coordinator.embedded.functions import Function
    from coordinator.errors import StartError

__all__ = ["Coordinator", "Function", "StartError"]
