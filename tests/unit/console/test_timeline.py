"""A transaction's timeline: what is drawn, that it stays in its frame, and that no text of others acts."""

from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.attempt import Kind
from coordinator.explain.play import Rows
from coordinator.model import BranchStatus, Op, Options, Result, Status, Transaction
from coordinator.service.operate import Explained
from coordinator.timeline.drawing import Band, Box, Drawing, Line, Sign, Text
from coordinator.timeline.layout import LANE_HEIGHT, drawing_of
from coordinator.timeline.model import Lane, Shape, Timeline
from coordinator.timeline.plain import fitted, plain, width_of
from coordinator.timeline.rows import rows_of
from coordinator.timeline.story import LANES_MAX, timeline_of
from coordinator.timeline.svg import svg_of
from tests.support.explained import explained
from tests.support.work import allocation_watched
from tests.unit.console.timelines import LEDGER, NOW, anything, at, attempt, branch, long_saga, night, teller

SVG = "{http://www.w3.org/2000/svg}"
MANY = settings(max_examples=60, deadline=None)
OBEYED = "\x00\x1b\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u200e\u200f\u061c\ufeff"


def drawn(it: Explained) -> tuple[Timeline, Drawing]:
    timeline = timeline_of(it, teller())
    return timeline, drawing_of(timeline, teller())


def listed(it: Explained, language: str = "en") -> list[str]:
    told = teller(language)
    return [f"{row.time} {row.glyph} {row.sentence}" for row in rows_of(timeline_of(it, told), told)]


def names(lanes: tuple[Lane, ...]) -> list[str]:
    return [f"{lane.number} {lane.name}" for lane in lanes]


def shapes(lane: Lane) -> list[str]:
    return [mark.shape.value for mark in lane.marks]


def transaction(trans_type: str, status: Status, **values: object) -> Transaction:
    given_ = {"create_time": at("02:00:00"), "update_time": at("02:10:00"), "next_cron_time": at("02:15:00")}
    return Transaction("g", trans_type, status, **{"next_cron_interval": 20, **given_, **values})  # type: ignore[arg-type]


# --- what is told ---


def test_the_list_tells_the_night_in_order() -> None:
    assert listed(night()) == [
        "2026-11-28 23:43:02 │ Begun by its client.",
        "2026-11-28 23:43:02 ● 01 action (withdraw): done.",
        "2026-11-28 23:43:02 ✕ 02 action (deposit): 409 Conflict – “account is closed”, so everything"
        " is rolled back.",
        "2026-11-28 23:43:03 ▲ 02 compensate (undo-deposit): called and answered; the step had refused, so"
        " there was nothing to undo.",
        "2026-11-28 23:43:03 – 2026-11-29 00:02:40 ✕ 01 compensate (undo-withdraw): 503 Service Unavailable,"
        " 28 times in a row.",
        "00:10:41 – 02:12:19 ✕ 01 compensate (undo-withdraw): connection refused, 29 times in a row.",
        "02:14:07  Now. What follows is expected, if nobody does anything.",
        "02:17:19 ▢ 01 compensate (undo-withdraw): will be called, if all before it succeeds.",
        "02:22:20 ▢ 01 compensate (undo-withdraw): called again, if it goes on as it does now, and then every"
        " 5 min.",
    ]


def test_it_is_told_in_chinese_too() -> None:
    assert listed(night(), "zh")[1] == "2026-11-28 23:43:02 ● 01 action（withdraw）：已完成。"


def test_what_undoes_stands_below_the_other_way_round() -> None:
    timeline, _ = drawn(night())
    assert names(timeline.above) == ["01 withdraw", "02 deposit", "03 receipt"]
    assert names(timeline.below) == ["03 undo-receipt", "02 undo-deposit", "01 undo-withdraw"]
    assert [lane.note for lane in timeline.above] == ["", "", "never started"]


def test_a_saga_that_goes_forward_has_nothing_below() -> None:
    timeline, _ = drawn(long_saga(3))
    assert timeline.below == ()
    assert timeline.nothing_below == "nothing is undone"


def test_confirms_stand_right_of_what_was_registered() -> None:
    branches = [
        row
        for number in (1, 2)
        for row in (
            branch(f"0{number}", Op.CANCEL, f"{LEDGER}/pay/cancel"),
            branch(
                f"0{number}", Op.CONFIRM, f"{LEDGER}/pay/confirm", at("02:00:09") if number == 2 else None
            ),
        )
    ]
    timeline, drawing = drawn(explained(Rows(transaction("tcc", Status.SUBMITTED), tuple(branches)), [], NOW))
    assert names(timeline.above) == ["01 pay", "02 pay"]
    assert shapes(timeline.above[0]) == ["registered", "forecast"]
    assert shapes(timeline.above[1]) == ["registered", "done"]
    registered = [it.x for it in drawing.pieces if isinstance(it, Sign) and it.shape is Shape.REGISTERED]
    done = [it.x for it in drawing.pieces if isinstance(it, Sign) and it.shape is Shape.DONE]
    assert max(registered) < min(done)


def test_a_message_asks_its_sender_first() -> None:
    branches = (branch("01", Op.ACTION, f"{LEDGER}/a"), branch("02", Op.ACTION, f"{LEDGER}/b"))
    asked = attempt("00", Op.MSG, 1, Kind.DNS, at("02:01:00"), at("02:02:00"), 3)
    it = transaction("msg", Status.PREPARED, query_prepared=f"{LEDGER}/ask")
    timeline, _ = drawn(explained(Rows(it, branches), [asked], NOW))
    assert names(timeline.above) == ["00 question to its sender", "01 a", "02 b"]
    assert timeline.above[0].is_waiting
    assert timeline.nothing_below == "nothing to be undone"


def test_a_workflow_shows_its_steps_and_its_call_back() -> None:
    branches = (branch("01", Op.ACTION, "", at("02:00:01")), branch("01", Op.ROLLBACK, "", at("02:00:04")))
    it = transaction(
        "workflow", Status.PREPARED, query_prepared=f"{LEDGER}/w", custom_data='{"name":"transfer"}'
    )
    timeline, _ = drawn(explained(Rows(it, branches), [], NOW))
    assert names(timeline.above) == ["00 call back of its client", "01 action"]
    assert names(timeline.below) == ["01 rollback"]


def test_steps_of_one_second_stand_in_their_order_and_at_once_where_they_are_concurrent() -> None:
    branches = []
    for number in (1, 2, 3):
        branches.append(branch(f"0{number}", Op.COMPENSATE, f"{LEDGER}/undo"))
        branches.append(branch(f"0{number}", Op.ACTION, f"{LEDGER}/do", at("02:00:01")))

    def places(*, concurrent: bool) -> list[float]:
        it = transaction("saga", Status.SUCCEED, options=Options(concurrent=concurrent))
        _, drawing = drawn(explained(Rows(it, tuple(branches)), [], NOW))
        return [it.x for it in drawing.pieces if isinstance(it, Sign) and it.shape is Shape.DONE]

    one_by_one = places(concurrent=False)
    assert one_by_one == sorted(set(one_by_one))
    assert len(set(places(concurrent=True))) == 1


def test_a_long_gap_is_cut_and_says_how_long_it_was() -> None:
    _, drawing = drawn(night())
    cuts = [it.text for it in drawing.pieces if isinstance(it, Text) and it.kind == "gap"]
    assert "… 2 h 1 min" in cuts


def test_time_that_it_waits_is_hatched_up_to_now_and_dotted_behind() -> None:
    _, drawing = drawn(night())
    now = next(it.left for it in drawing.pieces if isinstance(it, Line) and it.kind == "now")
    waits = [it for it in drawing.pieces if isinstance(it, Band) and it.kind == "waiting"]
    assert max(band.right for band in waits) == pytest.approx(now, abs=2)
    dotted = [it for it in drawing.pieces if isinstance(it, Line) and it.kind == "expected"]
    assert [line.left for line in dotted] == [now]


def test_a_transaction_that_is_over_expects_nothing() -> None:
    branches = (branch("01", Op.ACTION, f"{LEDGER}/a", at("02:00:02")),)
    it = transaction("msg", Status.SUCCEED, finish_time=at("02:00:02"))
    timeline, _ = drawn(explained(Rows(it, branches), [], NOW))
    assert shapes(timeline.axis) == ["begun", "ended"]
    assert not any(mark.shape.is_ahead for lane in timeline.lanes for mark in lane.marks)


# --- the frame ---


def boxes(drawing: Drawing) -> list[Box]:
    return [piece.box for piece in drawing.pieces]


@MANY
@given(st.integers(0, 2**32), st.lists(st.text(max_size=30), max_size=4))
def test_whatever_the_rows_hold_it_stays_in_its_frame_in_order_and_harmless(
    seed: int, texts: list[str]
) -> None:
    timeline, drawing = drawn(anything(seed, texts))
    stays_in_the_frame(drawing)
    lanes_do_not_overlap(timeline, drawing)
    texts_of_one_line_do_not_overlap(drawing)
    what_came_later_stands_further_right(timeline, drawing)
    nothing_in_the_svg_can_act(drawing)
    the_list_has_every_mark_in_order(timeline)


def stays_in_the_frame(drawing: Drawing) -> None:
    for box in boxes(drawing):
        assert 0 <= box.left <= box.right <= drawing.width, box
        assert 0 <= box.top <= box.bottom <= drawing.height, box


def lanes_do_not_overlap(timeline: Timeline, drawing: Drawing) -> None:
    signs = sorted({piece.y for piece in drawing.pieces if isinstance(piece, Sign)})
    assert all(below - above >= LANE_HEIGHT for above, below in pairwise(signs))
    numbers = [piece.y for piece in drawing.pieces if isinstance(piece, Text) and piece.kind == "number"]
    assert len(numbers) == len(timeline.above) + len(timeline.below)
    assert all(below - above >= LANE_HEIGHT for above, below in pairwise(numbers))


def texts_of_one_line_do_not_overlap(drawing: Drawing) -> None:
    lines: dict[float, list[Box]] = {}
    for piece in drawing.pieces:
        if isinstance(piece, Text) and piece.text:
            lines.setdefault(piece.y, []).append(piece.box)
    for line in lines.values():
        line.sort(key=lambda box: box.left)
        for before, after in pairwise(line):
            assert before.right <= after.left + 0.01, (before, after)


def what_came_later_stands_further_right(timeline: Timeline, drawing: Drawing) -> None:
    """And now between what has happened and what is expected."""
    now = next(piece.left for piece in drawing.pieces if isinstance(piece, Line) and piece.kind == "now")
    signs = [piece for piece in drawing.pieces if isinstance(piece, Sign)]
    assert all(sign.x < now for sign in signs if not sign.shape.is_ahead)
    assert all(sign.x > now for sign in signs if sign.shape.is_ahead)
    for lane in timeline.lanes:
        places = [mark.place for mark in lane.marks if not mark.shape.is_ahead]
        assert places == sorted(places)
        assert all(mark.at <= mark.until <= timeline.now for mark in lane.marks if not mark.shape.is_ahead)
        assert all(mark.at >= timeline.now for mark in lane.marks if mark.shape.is_ahead)


def nothing_in_the_svg_can_act(drawing: Drawing) -> None:
    text = svg_of(drawing)
    text.encode()  # no halves of characters
    assert len(text) < 400_000
    root = ElementTree.fromstring(text)
    for element in root.iter():
        assert element.tag in _ELEMENTS
        assert set(element.attrib) <= _ATTRIBUTES
    assert root.get("role") == "img" and root.get("aria-label")
    assert all(element.findtext(f"{SVG}title") for element in root.iter(f"{SVG}g"))
    assert not set(OBEYED) & set(text)


def the_list_has_every_mark_in_order(timeline: Timeline) -> None:
    rows = rows_of(timeline, teller())
    now = next(at for at, row in enumerate(rows) if row.shape == "now")
    assert not any(row.is_ahead for row in rows[:now])
    assert all(row.is_ahead for row in rows[now + 1 :])
    assert len(rows) - 1 == sum(len(lane.marks) for lane in timeline.lanes)
    for row in rows:
        row.sentence.encode()
        assert len(row.sentence) < 1000
        assert not set(OBEYED) & set(row.sentence)


_ATTRIBUTES = {
    *(
        "xmlns",
        "class",
        "viewBox",
        "role",
        "aria-label",
        "x",
        "y",
        "x1",
        "x2",
        "y1",
        "y2",
        "cx",
        "cy",
        "r",
        "rx",
    ),
    *("d", "width", "height", "text-anchor"),
}
_ELEMENTS = {f"{SVG}{name}" for name in ("svg", "text", "title", "line", "path", "g", "rect", "circle")}


@given(st.text(max_size=80), st.floats(0, 400))
def test_text_is_cut_to_its_room(text: str, room: float) -> None:
    shown = plain(text, 60)
    assert len(shown) <= 62
    kept = fitted(shown, room, 12)
    assert width_of(kept, 12) <= room or not kept


def test_a_megabyte_costs_no_more_than_a_line() -> None:
    long = "<" * 1_000_000
    with allocation_watched() as allocated:
        assert len(plain(long, 100)) == 100
    assert allocated.peak_bytes < 10_000


# --- many ---


def test_of_thousands_of_steps_the_few_that_matter_are_drawn_and_the_others_counted() -> None:
    timeline, drawing = drawn(long_saga(1000))
    assert len(timeline.above) == LANES_MAX
    assert "751" in [lane.number for lane in timeline.above]  # the one that hangs
    numbers = [int(lane.number) for lane in timeline.above]
    assert numbers == sorted(numbers)
    assert timeline.folded_above == "And 976 more, not drawn: 738 done, 238 not."
    assert len(svg_of(drawing)) < 40_000
    assert any(isinstance(it, Text) and it.text == timeline.folded_above for it in drawing.pieces)


def test_of_a_lane_with_many_attempts_those_in_the_middle_are_one_mark() -> None:
    it = transaction("saga", Status.SUBMITTED)
    branches = (branch("01", Op.COMPENSATE, f"{LEDGER}/u"), branch("01", Op.ACTION, f"{LEDGER}/a"))
    tried = [
        attempt(
            "01", Op.ACTION, number, Kind.TIMEOUT, at(f"02:01:{number:02d}"), at(f"02:01:{number:02d}"), 1
        )
        for number in range(1, 40)
    ]
    timeline, _ = drawn(explained(Rows(it, branches), tried, NOW))
    assert len(timeline.above[0].marks) <= 24
    assert any("more attempts" in mark.sentence for mark in timeline.above[0].marks)


def test_a_refusal_without_an_attempt_is_told_all_the_same() -> None:
    it = transaction("saga", Status.ABORTING)
    branches = (
        branch("01", Op.COMPENSATE, f"{LEDGER}/u"),
        branch("01", Op.ACTION, f"{LEDGER}/a", at("02:00:03"), status=BranchStatus.FAILED),
    )
    assert "02:00:03 ✕ 01 action (a): refused, so everything is rolled back." in listed(
        explained(Rows(it, branches), [], NOW)
    )


def test_a_branch_that_says_ongoing_is_no_failure() -> None:
    it = transaction("tcc", Status.SUBMITTED)
    branches = (branch("01", Op.CANCEL, f"{LEDGER}/u"), branch("01", Op.CONFIRM, f"{LEDGER}/a"))
    said = attempt(
        "01",
        Op.CONFIRM,
        1,
        Kind.ONGOING,
        at("02:00:03"),
        at("02:01:00"),
        4,
        result=Result.ONGOING,
        status=425,
    )
    timeline, _ = drawn(explained(Rows(it, branches), [said], NOW))
    assert "ongoing" in shapes(timeline.above[0])
    assert "failed" not in shapes(timeline.above[0])
