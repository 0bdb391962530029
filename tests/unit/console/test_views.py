import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.console.views import COOKIE, VIEWS_MAX, saved_views, views_cookie, with_view
from coordinator.errors import Invalid

NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=40)


@given(st.dictionaries(NAMES, st.text(st.characters(codec="utf-8"), min_size=1, max_size=40), max_size=5))
def test_what_was_saved_comes_back_in_its_order(views: dict[str, str]) -> None:
    made: dict[str, str] = {}
    for name, wanted in views.items():
        made = dict(with_view(made, name, wanted))
    line = views_cookie(made, "/")
    value = line.removeprefix(f"{COOKIE}=").partition(";")[0]
    assert list(saved_views(value).items()) == list(views.items())


@given(st.text())
def test_a_cookie_of_somebody_else_is_no_view(text: str) -> None:
    assert isinstance(saved_views(text), dict)


@pytest.mark.parametrize(
    ("name", "wanted", "problem"),
    [
        ("", "status:failed", "name: must have"),
        ("x" * 41, "status:failed", "name: must have"),
        ("a\nb", "status:failed", "name: must have"),
        ("a", "", "filter: is empty"),
        ("a", "gid:" + "x" * 3000, "filter: is too long"),
        ("eleventh", "status:failed", "views are saved already"),
    ],
)
def test_what_cannot_be_saved_is_said(name: str, wanted: str, problem: str) -> None:
    views = {str(number): "status:failed" for number in range(VIEWS_MAX if name == "eleventh" else 0)}
    with pytest.raises(Invalid, match=problem):
        with_view(views, name, wanted)
