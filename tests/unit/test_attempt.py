"""Which errors are alike, which attempts are kept, and what a transaction remembers of them."""

import pytest

from coordinator.attempt import (
    FINGERPRINT_MAX,
    ROWS_AT_ONCE,
    SECONDS_A_ROW,
    Kind,
    Notes,
    Tried,
    after,
    fingerprint,
    is_noted,
    notes_of,
    place_of,
    takes_notes,
    with_notes,
)
from coordinator.backoff import without_notes

GID = "order-Tuesday"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "broken:"),
        ("no stock left", "broken: no stock left"),
        ("no stock left for 17 of 20", "broken: no stock left for # of #"),
        (
            "http://127.0.0.1:34567/pay gave no answer within 3 s",
            "broken: http://#/pay gave no answer within # s",
        ),
        ("cannot connect to [::1]:8080 (refused)", "broken: cannot connect to [::#]:# (refused)"),
        ("at 2026-11-28T10:00:00.123+01:00 it broke", "broken: at # it broke"),
        ("at 28/11/2026 10:00:00 it broke", "broken: at # it broke"),
        ("user 550e8400-e29b-41d4-a716-446655440000 is gone", "broken: user # is gone"),
        ("trace deadbeefcafebabe", "broken: trace #"),
        ("facade of the cafe", "broken: facade of the cafe"),
        ("row 7f3a9c of table a", "broken: row # of table a"),
        ("gid order-Tuesday is closed", "broken: gid # is closed"),
        ("two\n  lines\tand blanks ", "broken: two lines and blanks"),
    ],
)
def test_digits_ids_hexadecimal_numbers_times_and_ports_are_left_out(text: str, expected: str) -> None:
    assert fingerprint(Kind.BROKEN, None, text, GID) == expected


def test_the_status_tells_errors_apart() -> None:
    missing, broken = (fingerprint(Kind.STATUS, status, "sorry", GID) for status in (404, 500))

    assert (missing, broken) == ("status 404: sorry", "status 500: sorry")


def test_kinds_tell_errors_apart_though_the_words_are_the_same() -> None:
    assert fingerprint(Kind.DNS, None, "it", GID) != fingerprint(Kind.TLS, None, "it", GID)


@pytest.mark.parametrize("text", ["a" * 1_000_000, "a-" * 500_000, "1 " * 500_000, "-" * 100_000])
def test_a_long_answer_is_cut(text: str) -> None:
    assert len(fingerprint(Kind.BROKEN, None, text, GID)) <= FINGERPRINT_MAX


def test_an_empty_gid_is_nowhere_in_the_text() -> None:
    assert fingerprint(Kind.BROKEN, None, "words", "") == "broken: words"


def test_the_first_three_stay_and_the_last_seventeen_take_turns() -> None:
    assert [place_of(number) for number in range(1, 5)] == [0, 1, 2, 3]
    assert [place_of(number) for number in (20, 21, 37, 38)] == [19, 3, 19, 3]


def test_counts_are_written_now_and_then() -> None:
    assert [times for times in range(1, 100) if is_noted(times)] == [
        *(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96),
    ]


NOW = 1_700_000_000


def test_another_error_takes_a_row_while_one_is_free_and_is_counted_with_the_one_before_else() -> None:
    tried, is_written = after(None, "0", NOW, NOW)
    written = [is_written]
    for number in range(1, 30):
        tried, is_written = after(tried, str(number), NOW, NOW)
        written.append(is_written)
    assert written == [True] * ROWS_AT_ONCE + [False] * (30 - ROWS_AT_ONCE)
    assert (tried.number, tried.times, tried.cause) == (ROWS_AT_ONCE, 30 - ROWS_AT_ONCE + 1, "16")
    assert after(tried, "29", NOW, NOW + SECONDS_A_ROW - 1)[1] is False
    later, is_written = after(tried, "29", NOW, NOW + SECONDS_A_ROW)
    assert (later.number, later.times, later.cause, is_written) == (ROWS_AT_ONCE + 1, 1, "29", True)


def test_counts_leave_rows_free_for_another_error() -> None:
    tried, _ = after(None, "a", NOW, NOW)
    for _ in range(100_000):
        tried, _ = after(tried, "a", NOW, NOW)
    assert tried.times == 100_001
    assert tried.rows_free(NOW) > 1
    assert after(tried, "b", NOW, NOW)[1] is True


@pytest.mark.parametrize(
    ("spent_until", "free"),
    [
        pytest.param(0, ROWS_AT_ONCE, id="long ago"),
        pytest.param(NOW + 1, ROWS_AT_ONCE - 1, id="a row"),
        pytest.param(NOW + ROWS_AT_ONCE * SECONDS_A_ROW, 0, id="all"),
        pytest.param(NOW + ROWS_AT_ONCE * SECONDS_A_ROW + 60, 0, id="all, by a clock that is ahead"),
        pytest.param(2**32, ROWS_AT_ONCE, id="what no clock of ours has written"),
    ],
)
def test_how_many_rows_are_free(spent_until: int, free: int) -> None:
    assert Tried(1, 1, NOW, "a", spent_until).rows_free(NOW) == free


NOTES = Notes(
    {("01", "action"): Tried(2, 3, 1_700_000_000, "0a1b2c3d", 1_700_000_900)}, 1_700_000_001, "ffffffff"
)


@pytest.mark.parametrize("ext_data", ["", '{"traceparent":"00-1-2-01","failed_rounds":3}'])
def test_what_is_noted_is_read_again_beside_what_others_keep_there(ext_data: str) -> None:
    noted = with_notes(ext_data, NOTES)

    assert notes_of(noted) == NOTES
    assert with_notes(noted, Notes()) == ext_data
    assert without_notes(noted) == without_notes(ext_data)


@pytest.mark.parametrize("ext_data", ["not json", "[1]", '"tried"', "1"])
def test_what_another_program_wrote_is_left_as_it_is(ext_data: str) -> None:
    assert with_notes(ext_data, NOTES) == ext_data
    assert notes_of(ext_data) == Notes()
    assert not takes_notes(ext_data)


@pytest.mark.parametrize(
    "ext_data",
    [
        '{"tried":1,"stuck":2}',
        '{"tried":[1,[],["01"],["01","action","x",1,1,"a"],null],"stuck":["x","y"]}',
        '{"tried":{"01":[]},"stuck":[]}',
    ],
)
def test_notes_that_nobody_understands_are_none(ext_data: str) -> None:
    assert notes_of(ext_data) == Notes()


def test_numbers_that_no_column_holds_are_bounded() -> None:
    notes = notes_of(
        f'{{"tried":[["01","action",{10**17},-5,{-(10**17)},"a",{10**17}]],"stuck":[{10**17},"b"]}}'
    )

    assert notes == Notes({("01", "action"): Tried(2**31 - 1, 1, 0, "a", 2**32)}, 2**32, "b")


def test_no_more_branches_are_remembered_than_fit() -> None:
    tried = {(f"{number:02}", "action"): Tried(1, 1, 0, "a") for number in range(100)}

    assert list(notes_of(with_notes("", Notes(tried))).tried) == list(tried)[-24:]
