"""Bar charts as SVG."""

from xml.etree import ElementTree

import pytest

from bench.bars import Group, chart, round_step

SVG = "{http://www.w3.org/2000/svg}"


def drawn(svg: str, kind: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(f"{SVG}{kind}"))


def bars(svg: str, series: int) -> list[ElementTree.Element]:
    return drawn(svg, "rect")[series:]  # the legend's stand first


def test_a_bar_is_as_long_as_its_figure():
    svg = chart("rates", ["a", "b"], [Group("saga", [[100.0], [50.0]])])
    longer, shorter = (float(it.get("width", "")) for it in bars(svg, 2))
    assert longer == pytest.approx(2 * shorter, rel=0.01)


def test_the_parts_of_a_bar_stand_end_to_end_and_their_sum_behind_them():
    svg = chart("cpu", ["a"], [Group("saga", [[400.0, 200.0]])])
    first, second = bars(svg, 1)
    end = float(first.get("x", "")) + float(first.get("width", ""))
    assert float(second.get("x", "")) == pytest.approx(end, abs=0.2)
    assert "600" in [it.text for it in drawn(svg, "text")]


def test_what_was_not_measured_says_so():
    svg = chart("rates", ["a", "b"], [Group("saga", [[100.0], None])])
    assert "not measured" in [it.text for it in drawn(svg, "text")]


def test_names_cannot_break_the_picture():
    svg = chart('<rates> & "more"', ["<a>"], [Group("<saga>", [[1.0]])])
    assert {'<rates> & "more"', "<a>", "<saga>"} <= {it.text for it in drawn(svg, "text")}


def test_a_chart_of_nothing_is_a_picture_still():
    assert drawn(chart("rates", [], []), "title")[0].text == "rates"
    assert drawn(chart("rates", ["a"], [Group("saga", [[0.0]])]), "rect")


@pytest.mark.parametrize(
    ("longest", "step"), [(0, 1), (6, 1), (6.5, 2), (1000, 200), (1201, 500), (5999, 1000), (0.5, 0.1)]
)
def test_grid_lines_stand_at_round_figures(longest, step):
    assert round_step(longest) == pytest.approx(step)


def test_no_bar_is_longer_than_the_grid():
    for longest in (1, 7, 99, 101, 1999, 123456):
        svg = chart("rates", ["a"], [Group("saga", [[float(longest)]])])
        [bar] = bars(svg, 1)
        last = max(float(it.get("x1", "")) for it in drawn(svg, "line"))
        assert float(bar.get("x", "")) + float(bar.get("width", "")) <= last + 0.2
