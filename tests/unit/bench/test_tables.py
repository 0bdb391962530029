"""Figures as tables."""

from dataclasses import replace

import pytest

from bench.sample import Sample, middle
from bench.tables import HEADING, aligned, cell_rows, markdown, number

OURS = [Sample(100, 1000, 1, 3, 0, 400, 200, {"Questions": 3000.0}) for _ in range(3)]
OTHERS = [replace(it, rate=500, server_cpu=900, database_cpu=300) for it in OURS]


def rows(taken, failed=()):
    medians = {name: middle(its) for name, its in taken.items() if name not in failed}
    return [dict(zip(HEADING, row, strict=True)) for row in cell_rows("saga", 16, taken, medians)]


def test_the_first_server_is_compared_with_every_other():
    ours, other = rows({"dtm": OURS, "go": OTHERS})
    assert (ours["server"], ours["per second"], ours["rate ratio"]) == ("dtm", "1,000", "–")
    assert (other["rate ratio"], other["CPU ratio"]) == ("2.00", "0.50")


def test_no_new_connection_is_a_figure_where_they_are_counted_and_none_where_not():
    counted, unseen = rows({"dtm": OURS, "sqlite": [replace(it, counters={}) for it in OURS]})
    assert (counted["commands"], counted["connections"]) == ("3,000", "0")
    assert (unseen["commands"], unseen["connections"]) == ("–", "–")


def test_a_server_that_failed_is_named_and_nothing_is_compared_with_it():
    ours, failed = rows({"dtm": OURS, "go": OTHERS[:1]}, failed=("go",))
    assert (ours["per second"], failed["per second"], failed["rate ratio"]) == ("1,000", "failed", "–")
    failed, other = rows({"dtm": OURS[:1], "go": OTHERS}, failed=("dtm",))
    assert (failed["per second"], other["per second"], other["rate ratio"]) == ("failed", "500", "–")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "–"), (0, "0"), (1234.6, "1,235"), (99.96, "100.0"), (12.34, "12.3"), (1.234, "1.23")],
)
def test_a_figure_has_as_many_digits_as_mean_something(value, expected):
    assert number(value) == expected


def test_words_stand_left_and_figures_right():
    assert aligned([["a", "figure"], ["word", "1"]], words=1) == "a     figure\nword       1"


def test_markdown_has_a_rule_below_the_heading():
    table = markdown([["a", "figure"], ["word", "1"]], words=1)
    assert table.splitlines() == ["| a | figure |", "| --- | ---: |", "| word | 1 |"]
