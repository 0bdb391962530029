"""Where everything of a timeline is drawn. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from coordinator.timeline.drawing import Area, Band, Box, Drawing, Line, Piece, Sign, Text
from coordinator.timeline.model import Lane, Mark, Place, Shape, Timeline
from coordinator.timeline.plain import fitted, width_of
from coordinator.timeline.scale import Cut, Scale, scale_of
from coordinator.timeline.teller import Teller

WIDTH: Final = 960.0
_LEFT: Final = 14.0
_PLOT: Final = 176.0  # where marks may begin
_RIGHT: Final = WIDTH - 14.0
_HEAD: Final = 50.0
LANE_HEIGHT: Final = 36.0
_AXIS_HEIGHT: Final = 52.0
_FOLD_HEIGHT: Final = 26.0
_FOOT: Final = 12.0
_SIZE: Final = 12.0  # of names
_SMALL: Final = 11.0
_REACH: Final = 7.0  # of a sign to either side
_NUMBER_ROOM: Final = 58.0
_BAND_LEAST: Final = 8.0
_TRIED: Final = (Shape.FAILED, Shape.ONGOING)
_OF_AXIS: Final = (Shape.BEGUN, Shape.ENDED)
_TITLES_MAX: Final = 500  # characters


@dataclass(frozen=True, slots=True)
class _Rows:
    """The y of the middle of each lane, and of the axis. folded: of the sentences about lanes left out."""

    above: tuple[float, ...]
    folded_above: float
    axis: float
    below: tuple[float, ...]
    folded_below: float
    height: float


def drawing_of(timeline: Timeline, teller: Teller) -> Drawing:
    """The timeline with a place for everything."""
    return _Layout(timeline, teller).drawing()


class _Layout:
    def __init__(self, timeline: Timeline, teller: Teller) -> None:
        self._timeline = timeline
        self._teller = teller
        self._rows = _rows(timeline)
        past, ahead = set[Place](), set[Place]()
        for lane in timeline.lanes:
            for mark in lane.marks:
                (ahead if mark.shape.is_ahead else past).update((mark.place, mark.last_place))
        said = [mark.label for lane in timeline.lanes for mark in lane.marks if mark.shape.is_ahead]
        room = max([44.0, *(width_of(label, _SMALL) + 2 * _REACH + 4 for label in said)])
        self._scale: Scale = scale_of(
            past, timeline.now, ahead, left=_PLOT + 14, right=_RIGHT - min(room, 150)
        )

    def drawing(self) -> Drawing:
        timeline, rows = self._timeline, self._rows
        pieces = [*self._ground(), *self._axis()]
        for lane, y in [
            *zip(timeline.above, rows.above, strict=True),
            *zip(timeline.below, rows.below, strict=True),
        ]:
            pieces += self._named(lane, y)
            pieces += self._lane(lane, y)
        for sentence, y in (
            (timeline.folded_above, rows.folded_above),
            (timeline.folded_below, rows.folded_below),
        ):
            if sentence:
                pieces.append(_text(_LEFT, y + 4, sentence, "faint", _RIGHT - _LEFT, _SMALL))
        return Drawing(WIDTH, rows.height, timeline.summary, tuple(pieces))

    def _ground(self) -> Iterator[Piece]:
        """What stands behind: times, and now."""
        bottom, now = self._rows.height - _FOOT, self._scale.now
        if self._scale.ahead:
            yield Area(Box(now, _HEAD - 8, _RIGHT, bottom), "ahead")
        yield from self._ticks()
        yield Line(now, _HEAD - 12, now, bottom, "now")

    def _ticks(self) -> Iterator[Piece]:
        teller, scale = self._teller, self._scale
        now = teller.words("timeline.now", time=teller.clock(self._timeline.now))
        width = width_of(now, _SIZE)
        here = Text(min(scale.now, _RIGHT - width / 2), 32, now, "now-time", width, "middle")
        taken = [(here.box.left, here.box.right)]
        yield here
        day, day_ends, before = "", 0.0, ""
        for column in (*scale.past, *scale.ahead):
            text = teller.clock(column.at)
            if text == before:
                continue
            width = width_of(text, _SMALL)
            left, right = column.x - 4, column.x - 4 + width
            if right > _RIGHT or any(left < end + 8 and begin < right + 8 for begin, end in taken):
                continue
            taken.append((left, right))
            before = text
            yield Text(left, 32, text, "time", width)
            yield Line(column.x, _HEAD - 12, column.x, self._rows.height - _FOOT, "tick")
            this_day = teller.day(column.at)
            width = width_of(this_day, _SMALL)
            if this_day != day and day_ends < left and left + width < _RIGHT:
                day, day_ends = this_day, left + width + 8
                yield Text(left, 16, this_day, "day", width)

    def _axis(self) -> Iterator[Piece]:
        timeline, y, words = self._timeline, self._rows.axis, self._teller.words
        yield Line(_LEFT, y, _RIGHT, y, "axis")
        room = _PLOT - _LEFT - 8
        yield _text(_LEFT, y - 8, words("timeline.forward"), "faint", room, _SMALL)
        under = timeline.nothing_below or words("timeline.back")
        yield _text(_LEFT, y + 17, under, "faint", room, _SMALL)
        for cut in self._scale.cuts:
            yield self._cut(cut, y)
        yield from self._lane(timeline.axis, y)

    def _cut(self, cut: Cut, y: float) -> Text:
        middle, room = (cut.left + cut.right) / 2, cut.right - cut.left - 2 * _REACH - 4
        text = self._teller.words("timeline.gap", length=self._teller.length(cut.seconds))
        if width_of(text, _SMALL) > room:
            text = "…"
        return Text(middle, y + 17, text, "gap", min(width_of(text, _SMALL), max(room, 9.0)), "middle")

    def _named(self, lane: Lane, y: float) -> Iterator[Piece]:
        number = _text(_LEFT, y + 4, lane.number, "number", _NUMBER_ROOM, _SIZE)
        yield number
        left = max(_LEFT + 24, _LEFT + number.width + 8)
        yield _text(left, y + 4, lane.name, "name", _PLOT - 8 - left, _SIZE)
        if lane.note:
            yield _text(_PLOT + 22, y + 4, lane.note, "faint", 160, _SMALL)

    def _lane(self, lane: Lane, y: float) -> Iterator[Piece]:
        together = list(self._together(lane.marks))
        marks = [mark for mark, _ in together]
        bands = list(self._bands(lane, marks, y))
        yield from bands
        ahead = [self._ends(mark)[0] for mark in marks if mark.shape.is_ahead]
        if ahead:
            yield Line(self._scale.now, y, max(ahead), y, "expected")
        signs: list[Sign] = []
        for mark, title in together:
            signs += [Sign(mark.shape, x, y, title) for x in dict.fromkeys(self._ends(mark))]
        yield from signs
        yield from self._labels(marks, bands, y)

    def _together(self, marks: Sequence[Mark]) -> Iterator[tuple[Mark, str]]:
        """The marks with their titles; of those that fall on one place the last, with what the others say."""
        words, groups = self._teller.words, dict[tuple[float, bool], list[Mark]]()
        for mark in marks:
            groups.setdefault((self._ends(mark)[1], mark.shape.is_ahead), []).append(mark)
        for group in groups.values():
            mark = group[-1]
            sentence = mark.sentence
            if len(group) > 1:
                sentence = words("timeline.at_one_place", sentence=sentence, count=len(group) - 1)
            span = self._teller.span(mark.at, mark.until)
            yield mark, f"{span}  {sentence}"[:_TITLES_MAX]

    def _ends(self, mark: Mark) -> tuple[float, float]:
        is_ahead = mark.shape.is_ahead
        return (
            self._scale.x(mark.place, is_ahead=is_ahead),
            self._scale.x(mark.last_place, is_ahead=is_ahead),
        )

    def _bands(self, lane: Lane, marks: Sequence[Mark], y: float) -> Iterator[Band]:
        """Hatched where it waits."""
        past = [mark for mark in marks if not mark.shape.is_ahead]
        edges = [self._ends(mark) for mark in past]
        for mark, (left, right) in zip(past, edges, strict=True):
            yield from _band(left, right, y, mark.shape.value, mark.sentence[:_TITLES_MAX])
            if mark.shape in _TRIED:
                following = min((begin for begin, _ in edges if begin > right), default=None)
                if following is not None:
                    yield from _band(right, following, y, "waiting", "")
                elif lane.is_waiting:
                    yield from _band(right, self._scale.now + _REACH, y, "waiting", "")
        if lane is self._timeline.axis and lane.is_waiting:
            yield from _band(self._latest, self._scale.now + _REACH, y, "waiting", "")

    @property
    def _latest(self) -> float:
        return max((column.x for column in self._scale.past), default=self._scale.now)

    def _labels(self, marks: Sequence[Mark], bands: Sequence[Band], y: float) -> Iterator[Text]:
        """What stands beside the marks: to the right, or above where something waits there."""
        edges = [self._ends(mark) for mark in marks]
        begins, signs = {left for left, _ in edges}, {x for edge in edges for x in edge}
        taken: set[tuple[float, float]] = set()  # two may begin at one place
        for mark in marks:
            left, right = self._ends(mark)
            is_raised = mark.shape in _OF_AXIS or any(left < band.left < right + 2 * _REACH for band in bands)
            begin = left if is_raised else right
            ends = [x for x in (begins if is_raised else signs) if x > begin]
            if not mark.shape.is_ahead:
                ends.append(self._scale.now)
            room = min(ends, default=_RIGHT + _REACH) - begin - 2 * _REACH - 6
            base = y - 10 if is_raised else y + 4
            if (begin, base) not in taken and (text := fitted(mark.label, room, _SMALL)):
                taken.add((begin, base))
                kind = f"label {mark.shape.value}"
                yield Text(begin + _REACH + 3, base, text, kind, width_of(text, _SMALL))


def _band(left: float, right: float, y: float, kind: str, title: str) -> Iterator[Band]:
    """A band between two marks, where there is room for one."""
    left, right = left + _REACH + 1, right - _REACH - 1
    if right - left >= _BAND_LEAST:
        yield Band(left, right, y, kind, title)


def _rows(timeline: Timeline) -> _Rows:
    y = _HEAD
    above = tuple(y + LANE_HEIGHT * (at + 0.5) for at in range(len(timeline.above)))
    y += LANE_HEIGHT * len(above)
    folded_above = y + _FOLD_HEIGHT / 2
    y += _FOLD_HEIGHT if timeline.folded_above else 0
    axis = y + _AXIS_HEIGHT / 2
    y += _AXIS_HEIGHT
    below = tuple(y + LANE_HEIGHT * (at + 0.5) for at in range(len(timeline.below)))
    y += LANE_HEIGHT * len(below)
    folded_below = y + _FOLD_HEIGHT / 2
    y += _FOLD_HEIGHT if timeline.folded_below else 0
    return _Rows(above, folded_above, axis, below, folded_below, y + _FOOT)


def _text(x: float, y: float, text: str, kind: str, room: float, size: float) -> Text:
    shown = fitted(text, room, size)
    return Text(x, y, shown, kind, width_of(shown, size))
