"""RFC 7541: header blocks are read as by the library, and cost no more than their bytes."""

import pytest
from hpack import Decoder as LibrarysDecoder
from hpack import Encoder, NeverIndexedHeaderTuple
from hypothesis import given
from hypothesis import strategies as st

from coordinator.http2 import frames
from coordinator.http2.blocks import Blocks, Parts, named
from coordinator.http2.decoder import Decoder, HeadersTooLong
from coordinator.http2.frames import Frame, FrameError
from coordinator.http2.literals import literal


def test_a_block_that_left_an_empty_table_alone_counts_again_when_there_is_room_in_it() -> None:
    decoder = Blocks(named, bytes_max=1000)
    indexed = b"\x40\x01x\x01y"
    for block in (b"\x20\x88", indexed, b"\x3f\xe1\x1f\x88", indexed):
        decoder.take(block)
    assert decoder.take(b"\xbe") == {"x": "y"}


def test_thousands_of_headers_before_a_long_one_are_decoded() -> None:
    decoder = Blocks(named, bytes_max=2 << 20)
    many = literal(b"a", b"") * 20_000 + literal(b"long", b"x" * 1_000_000)
    assert decoder.take(many) == {"a": "", "long": "x" * 1_000_000}


fields = st.lists(
    st.tuples(
        st.sampled_from([b":status", b"grpc-status", b"x"]), st.sampled_from([b"200", b"0", b"y", b""])
    ),
    max_size=4,
)


@given(st.lists(st.tuples(fields, st.sampled_from([None, 0, 60, 4096])), max_size=12))
def test_blocks_are_decoded_as_by_the_library_whatever_table_the_server_keeps(
    blocks: list[tuple[list[tuple[bytes, bytes]], int | None]],
) -> None:
    encoder, ours, theirs = Encoder(), Blocks(named, bytes_max=1 << 20), LibrarysDecoder()
    for headers, table_bytes in blocks:
        if table_bytes is not None:
            encoder.header_table_size = table_bytes
        block = encoder.encode(headers)
        expected = {name.decode(): value.decode() for name, value in theirs.decode(block, raw=True)}
        assert ours.take(block) == expected


names = st.sampled_from([b":path", b":authority", b"te", b"grpc-timeout", b"x", b"authorization"])
values = st.sampled_from([b"", b"trailers", b"1S", b"/dtmgimp.Dtm/Submit"]) | st.binary(max_size=200)


@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(names, values, st.booleans()), max_size=5),
            st.booleans(),
            st.sampled_from([None, None, 0, 100, 4096]),
        ),
        max_size=20,
    )
)
def test_whatever_a_proper_client_sends_is_read_as_by_the_library(
    blocks: list[tuple[list[tuple[bytes, bytes, bool]], bool, int | None]],
) -> None:
    encoder, ours, theirs = Encoder(), Blocks(list, bytes_max=1 << 20), LibrarysDecoder(1 << 20)
    for headers, is_coded, table_bytes in blocks:
        if table_bytes is not None:
            encoder.header_table_size = table_bytes
        block = encoder.encode([(name, value, never) for name, value, never in headers], huffman=is_coded)
        assert ours.take(block) == theirs.decode(block, raw=True)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_whatever_comes_is_read_as_by_the_library_or_refused(blocks: list[bytes]) -> None:
    ours, theirs = Decoder(bytes_max=2000), LibrarysDecoder(2000)
    for block in blocks:
        try:
            read = ours.decode(block)
        except (FrameError, HeadersTooLong):
            return
        assert read == theirs.decode(block, raw=True)


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xbe",  # of an empty table
        b"\xff",  # a number that does not end
        b"\xff\xff\xff\xff\xff\xff\xff",  # one that is too long
        b"\x40\x05ab",  # a name that is cut short
        b"\x40\x01a",  # no value
        b"\x00\x81\xff\x00",  # Huffman's code that ends nowhere
        b"\x82\x20",  # a table that is resized behind a header
        b"\x20\x20\x20",  # and again and again
        b"\x3f\xe2\x1f",  # to more than was agreed on
    ],
)
def test_what_cannot_be_read_is_refused(block: bytes) -> None:
    with pytest.raises(FrameError):
        Decoder(bytes_max=1000).decode(block)


def test_a_short_block_that_stands_for_much_is_cut_off() -> None:
    decoder = Decoder(bytes_max=10_000)
    decoder.decode(b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4000)
    with pytest.raises(HeadersTooLong):
        decoder.decode(b"\xbe" * 1000)


def test_what_is_in_huffmans_code_is_counted() -> None:
    block = Encoder().encode([NeverIndexedHeaderTuple("x", "w" * 800)], huffman=True)
    blocks = Blocks(named, bytes_max=10_000)
    blocks.take(block)
    assert 600 < blocks.coded_bytes <= len(block)


def test_a_block_is_read_once_while_the_table_stands_still() -> None:
    read: list[int] = []

    def count(fields: object) -> int:
        read.append(1)
        return len(read)

    blocks = Blocks(count, bytes_max=1000)
    moving, same = b"\x40\x01x\x01y", b"\xbe"
    assert [blocks.take(each) for each in (moving, same, same, moving, same, same)] == [1, 2, 2, 3, 4, 4]
    # Where no table is kept nothing moves it.
    kept_none = b"\x20"
    assert [blocks.take(each) for each in (kept_none + moving, moving, moving, kept_none, moving)] == [
        *(5, 6, 6),
        *(7, 8),
    ]


def test_blocks_in_pieces_are_put_together_and_bounded() -> None:
    def part(kind: int, payload: bytes, flags: int = 0, stream: int = 1) -> Frame:
        return Frame(kind, flags, stream, payload)

    parts = Parts(bytes_max=10, parts_max=3)
    first = part(frames.HEADERS, b"\1ab\0", frames.PADDED)
    assert parts.take(first) is None
    parts.check(part(frames.CONTINUATION, b""))
    for other in (part(frames.DATA, b""), part(frames.CONTINUATION, b"", stream=3)):
        with pytest.raises(FrameError):
            parts.check(other)
    assert parts.take(part(frames.CONTINUATION, b"cd", frames.END_HEADERS)) == (first, b"abcd")
    with pytest.raises(FrameError):
        parts.take(part(frames.CONTINUATION, b""))
    for pieces in ([b""] * 4, [b"x" * 6] * 2):
        parts = Parts(bytes_max=10, parts_max=3)
        with pytest.raises(HeadersTooLong):
            for at, piece in enumerate(pieces):
                parts.take(part(frames.CONTINUATION if at else frames.HEADERS, piece))
