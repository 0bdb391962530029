"""RFC 9113: frames are found wherever what comes is cut."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.http2 import frames
from coordinator.http2.frames import Code, Frame, FrameError, Frames, frame


@given(st.lists(st.tuples(st.integers(0, 12), st.binary(max_size=40))), st.data())
def test_frames_are_the_same_wherever_they_are_cut(frames: list[tuple[int, bytes]], data: Any) -> None:
    sent = b"".join(frame(kind, 1, 3, payload) for kind, payload in frames)
    read: list[Frame] = []
    reader, at = Frames(), 0
    while at < len(sent):
        size = data.draw(st.integers(1, len(sent) - at))
        reader.feed(sent[at : at + size])
        read += reader
        at += size
    assert read == [Frame(kind, 1, 3, payload) for kind, payload in frames]


def test_who_stops_between_frames_goes_on_later() -> None:
    reader = Frames()
    reader.feed(frame(frames.PING, 0, 0, b"12345678") * 2 + frame(frames.DATA, 0, 1, b"long")[:-1])
    assert next(reader).kind == frames.PING
    assert reader.has_more
    reader.feed(b"g")
    assert [each.payload for each in reader] == [b"12345678", b"long"]
    assert not reader.has_more


def test_a_frame_that_is_too_long_is_refused_by_its_head() -> None:
    reader = Frames()
    reader.feed(b"\0\x40\1" + bytes(6))
    assert reader.has_more
    with pytest.raises(FrameError) as refused:
        next(reader)
    assert refused.value.code is Code.FRAME_SIZE_ERROR


@pytest.mark.parametrize(
    ("flags", "payload", "content"),
    [
        (0, b"abc", b"abc"),
        (frames.PADDED, b"\2abcde", b"abc"),
        (frames.PADDED, b"\0abc", b"abc"),
        (frames.PADDED, b"\3abc", b""),
        (frames.HAS_PRIORITY, b"12345abc", b"abc"),
        (frames.PADDED | frames.HAS_PRIORITY, b"\x0112345abcx", b"abc"),
        (frames.PADDED, b"", None),
        (frames.PADDED, b"\4abc", None),
        (frames.HAS_PRIORITY, b"1234", None),
    ],
)
def test_padding_and_priority_are_no_content(flags: int, payload: bytes, content: bytes | None) -> None:
    each = Frame(frames.HEADERS, flags, 1, payload)
    if content is None:
        with pytest.raises(FrameError):
            each.content()
    else:
        assert each.content() == content
