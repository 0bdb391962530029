"""The same as a table: a row for each mark, in order, with now among them. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from coordinator.timeline.model import GLYPHS, Shape, Timeline
from coordinator.timeline.story import marks_in_order
from coordinator.timeline.teller import Teller


@dataclass(frozen=True, slots=True)
class Row:
    """shape: `now` of the row that says what time it is; else a mark's. meaning: the glyph in a word."""

    time: str
    shape: str
    glyph: str
    meaning: str
    sentence: str
    is_ahead: bool = False


def rows_of(timeline: Timeline, teller: Teller) -> list[Row]:
    """Every mark, as they come."""
    words, marks = teller.words, [mark for _, mark in marks_in_order(timeline)]

    def row(shape: Shape, time: str, sentence: str) -> Row:
        meaning = words(f"timeline.shape_{shape.value}")
        return Row(time, shape.value, GLYPHS[shape], meaning, sentence, shape.is_ahead)

    def rows() -> Iterator[Row]:
        for is_ahead in (False, True):
            for mark in marks:
                if mark.shape.is_ahead is is_ahead:
                    yield row(mark.shape, teller.span(mark.at, mark.until), mark.sentence)
            if not is_ahead:
                yield Row(teller.time(timeline.now), "now", "", "", words("timeline.now_row"))

    return list(rows())
