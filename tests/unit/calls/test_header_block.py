"""RFC 7541: our blocks are read by a decoder that is not ours."""

import pytest
from hpack import Decoder, Encoder, HeaderTuple

from coordinator.calls.header_block import BlockEncoder, block, literal


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 254, 255, 256, 16_509, 16_510, 16_511, 60_000])
def test_values_of_any_length(length: int) -> None:
    encoder, decoder = BlockEncoder(Encoder()), Decoder(max_header_list_size=1 << 20)
    value = b"v" * length
    encoded = encoder.encode([block(literal(b":path", b"/a") + literal(b"name", value))])
    assert decoder.decode(encoded, raw=True) == [(b":path", b"/a"), (b"name", value)]


def test_a_block_is_the_same_each_time_and_leaves_nothing_behind() -> None:
    encoder, decoder = BlockEncoder(Encoder()), Decoder()
    blocks = [encoder.encode([block(literal(b"a", b"1"))]) for _ in range(3)]
    assert len(set(blocks)) == 1
    for encoded in blocks:
        assert decoder.decode(encoded, raw=True) == [(b"a", b"1")]
    assert len(decoder.header_table.dynamic_entries) == 0


def test_plain_headers_are_encoded_too() -> None:
    encoded = BlockEncoder(Encoder()).encode([(b"a", b"1"), HeaderTuple(b"b", b"2")])
    assert Decoder().decode(encoded, raw=True) == [(b"a", b"1"), (b"b", b"2")]


def test_a_smaller_table_is_confirmed_once() -> None:
    """§4.2: a decoder that has lowered its limit insists on hearing of it."""
    encoder, decoder = BlockEncoder(Encoder()), Decoder()
    decoder.max_allowed_table_size = 0
    encoder.header_table_size = 0
    for _ in range(2):
        assert decoder.decode(encoder.encode([block(literal(b"a", b"1"))]), raw=True) == [(b"a", b"1")]
    assert encoder.header_table_size == 0


def test_what_the_replaced_encoder_was_told_counts() -> None:
    replaced = Encoder()
    replaced.header_table_size = 100
    assert BlockEncoder(replaced).encode([block(b"")]) == b"\x20"
