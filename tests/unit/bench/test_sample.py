"""What many measurements say together."""

from dataclasses import replace

import pytest

from bench.sample import Sample, middle, per_thousand, percentile, ratio, spread

RUN = Sample(
    transactions=1000,
    rate=500,
    p50_ms=2,
    p99_ms=9,
    server_cpu=400,
    database_cpu=200,
    counters={"Questions": 9000, "Connections": 1},
)


def test_each_figure_has_its_own_median():
    found = middle([RUN, replace(RUN, rate=700, p99_ms=5), replace(RUN, rate=600, p99_ms=7, server_cpu=300)])
    assert (found.rate, found.p99_ms, found.server_cpu) == (600, 7, 400)


def test_errors_of_all_runs_are_counted():
    assert middle([RUN, replace(RUN, errors=2), replace(RUN, errors=1)]).errors == 3


def test_a_figure_that_one_run_lacks_is_not_known():
    assert middle([RUN, replace(RUN, database_cpu=None)]).database_cpu is None


def test_a_counter_that_stood_still_in_one_run_is_left_out():
    assert middle([RUN, replace(RUN, counters={"Questions": 9100})]).counters == {"Questions": 9050}


def test_a_ratio_compares_neighbours_so_that_a_machine_that_slows_down_is_fair():
    ours = [replace(RUN, rate=it) for it in (800, 400, 200)]
    others = [replace(RUN, rate=it) for it in (400, 200, 100)]
    assert ratio(ours, others, lambda it: it.rate) == 2


@pytest.mark.parametrize(
    ("ours", "others"),
    [([RUN], []), ([RUN, RUN], [RUN]), ([RUN], [replace(RUN, server_cpu=None)]), ([], [])],
)
def test_there_is_no_ratio_without_both_figures(ours: list[Sample], others: list[Sample]):
    assert ratio(ours, others, lambda it: it.server_cpu) is None


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [
        (1, 0.5, 1),
        (1, 0.99, 1),
        (2, 0.5, 1),
        (100, 0.5, 50),
        (100, 0.99, 99),
        (101, 0.99, 100),
        (1000, 1, 1000),
    ],
)
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(count, share, expected):
    assert percentile([float(it) for it in range(1, count + 1)], share) == expected


def test_counters_are_given_for_a_thousand_transactions():
    before = {"Questions": 100, "Com_begin": 7, "Connections": 3}
    after = {"Questions": 4100, "Com_begin": 7, "Connections": 4, "Com_new": 5}
    assert per_thousand(before, after, 500) == {"Questions": 8000, "Connections": 2}


def test_the_spread_is_a_share_of_the_median():
    assert spread([90, 100, 120]) == pytest.approx(0.3)
