"""An encoder in the place of `encode_json`: what it is asked for, and what of its making is refused."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from branches.proto.user import UserRequest
from coordinator.client import Dtm, InvalidUse, encode_json, sync
from tests.unit.client.fake_coordinator import Fake


def as_number(value: Any) -> bytes:
    """As a user writes one who wants Decimals as numbers, and the rest as before."""
    return json.dumps(float(value)).encode() if isinstance(value, Decimal) else encode_json(value)


def sent(fake: Fake) -> list[bytes]:
    """The payloads of what was handed in last."""
    submitted = fake.submitted[-1]
    if isinstance(submitted, dict):
        return [payload.encode() for payload in submitted["payloads"]]
    return list(submitted.bin_payloads)


PAYLOADS = [Decimal("1.10"), {"a": Decimal("1.10")}, b"as it is", None]
SENT = [b"1.1", b'{"a":"1.10"}', b"as it is", b""]


async def test_it_writes_all_but_bytes_and_nothing(fake: Fake, bank: str) -> None:
    async with Dtm(fake.url, encoder=as_number) as dtm:
        saga = dtm.saga()
        for payload in PAYLOADS:
            saga.add(f"{bank}/a.A/B", payload=payload)
        await saga.submit()
    assert sent(fake) == SENT


async def test_it_writes_protobuf_messages_over_http_alone(http: Fake, grpc: Fake) -> None:
    message = UserRequest(id="7", name="Ann")
    for fake, url, expected in [(http, "http://b/1", b"<7>"), (grpc, "b:1/x.Y/Z", bytes(message))]:
        async with Dtm(fake.url, encoder=lambda given: f"<{given.id}>".encode()) as dtm:
            await dtm.saga().add(url, payload=message).submit()
        assert sent(fake) == [expected]


@pytest.mark.parametrize("made", ["text", None, bytearray(b"x")])
async def test_what_is_not_bytes_is_refused_with_the_step(fake: Fake, bank: str, made: Any) -> None:
    async with Dtm(fake.url, encoder=lambda _: made) as dtm:
        saga = dtm.saga().add(f"{bank}/a.A/B")
        with pytest.raises(
            InvalidUse,
            match=rf"step 1 .*: the encoder returned a {type(made).__name__}: it must return bytes",
        ):
            saga.add(f"{bank}/a.A/B", payload=1)


async def test_what_is_no_text_needs_grpc(http: Fake, grpc: Fake) -> None:
    async with Dtm(http.url, encoder=lambda _: b"\xff") as dtm:
        with pytest.raises(InvalidUse, match=r"step 0 .* must be UTF-8 over HTTP"):
            dtm.saga().add("http://b/1", payload=1)
    async with Dtm(grpc.url, encoder=lambda _: b"\xff") as dtm:
        await dtm.saga().add("b:1/x.Y/Z", payload=1).submit()
    assert sent(grpc) == [b"\xff"]


async def test_what_does_not_fit_is_refused(fake: Fake, bank: str) -> None:
    async with Dtm(fake.url, encoder=lambda _: b"x" * 65_536) as dtm:
        with pytest.raises(InvalidUse, match="a payload has 65536 bytes, at most 65535 fit"):
            dtm.saga().add(f"{bank}/a.A/B", payload=1)


async def test_what_it_raises_itself_reaches_who_gave_it(fake: Fake, bank: str) -> None:
    async with Dtm(fake.url, encoder=lambda value: json.dumps(value).encode()) as dtm:
        with pytest.raises(TypeError, match="Object of type Decimal is not JSON serializable"):
            dtm.saga().add(f"{bank}/a.A/B", payload=Decimal(1))
    assert fake.submitted == []


async def test_of_blocking_code(fake: Fake, bank: str) -> None:
    def use() -> None:
        with sync.Dtm(fake.url, encoder=as_number) as dtm:
            saga = dtm.saga()
            for payload in PAYLOADS:
                saga.add(f"{bank}/a.A/B", payload=payload)
            saga.submit()

    await asyncio.to_thread(use)
    assert sent(fake) == SENT
