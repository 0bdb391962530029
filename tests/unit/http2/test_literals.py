"""RFC 7541: our blocks are read by a decoder that is not ours."""

import pytest
from hpack import Decoder

from coordinator.http2.literals import literal


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 254, 255, 256, 16_509, 16_510, 16_511, 60_000])
def test_values_of_any_length(length: int) -> None:
    decoder = Decoder(max_header_list_size=1 << 20)
    value = b"v" * length
    encoded = literal(b":path", b"/a") + literal(b"name", value)
    assert decoder.decode(encoded, raw=True) == [(b":path", b"/a"), (b"name", value)]
    assert len(decoder.header_table.dynamic_entries) == 0
