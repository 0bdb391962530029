"""Of several coordinators, how long one of them is waited for (PROTOCOL §5, §11)."""

import pytest

from coordinator.client.transport import discovered as _discovered
from coordinator.client.transport.base import Operation
from coordinator.client.transport.discovered import discovered_transport
from coordinator.model import Options, TransactionRequest, TransType


class Recording:
    """Takes the place of the gRPC transport."""

    waited: list[float]

    def __init__(self, host: str, port: int, token: str = "", tls: object = None) -> None:
        pass

    async def operate(self, operation: Operation, request: TransactionRequest, timeout: float) -> None:
        self.waited.append(timeout)

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("wait_result", "request_timeout", "timeout", "expected"),
    [
        (False, 0, 10.0, 5.0),
        (True, 0, 10.0, 7.5),
        (True, 60, 70.0, 67.5),  # the coordinator rightly answers after up to 62 s
        (True, 60, 20.0, 20.0),
    ],
)
async def test_a_coordinator_that_waits_for_a_branch_is_given_the_branch_s_time(
    monkeypatch: pytest.MonkeyPatch,
    wait_result: bool,
    request_timeout: int,
    timeout: float,
    expected: float,
) -> None:
    monkeypatch.setattr(_discovered, "GrpcTransport", Recording)
    monkeypatch.setattr(Recording, "waited", [], raising=False)
    options = Options(wait_result=wait_result, request_timeout=request_timeout)
    transport = discovered_transport("direct:///h:1,h:2")
    request = TransactionRequest(gid="g1", trans_type=TransType.SAGA, options=options)
    await transport.operate(Operation.SUBMIT, request, timeout)
    await transport.close()
    assert Recording.waited == [expected]
