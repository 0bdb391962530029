import pytest

from coordinator.api.paths import PathTemplates, path_values
from coordinator.errors import Invalid

ONE = "/api/operate/transactions/{gid}"
PATHS = PathTemplates(
    [ONE, f"{ONE}/preview", "/api/operate/transactions", "/transactions/{gid}", "/transactions/new"]
)


@pytest.mark.parametrize(
    ("raw", "meant"),
    [
        ("/api/operate/transactions/a", ONE),
        ("/api/operate/transactions/a%2Fb", ONE),
        ("/api/operate/transactions/a/preview", f"{ONE}/preview"),
        ("/api/operate/transactions/preview", ONE),
        ("/api/operate/transactions", "/api/operate/transactions"),
        ("/transactions/new", "/transactions/new"),
        ("/transactions/nova", "/transactions/{gid}"),
        ("/api/operate/transactions/", "/api/operate/transactions/"),
        ("/api/operate/transactions/a/b/c", "/api/operate/transactions/a/b/c"),
    ],
)
def test_a_path_is_meant_by_the_one_that_fits(raw: str, meant: str) -> None:
    assert PATHS.template_of(raw) == meant


def test_a_variable_part_is_decoded() -> None:
    assert path_values(f"{ONE}/preview", "/api/operate/transactions/a%2Fb%20%C3%A9/preview") == {
        "gid": "a/b é"
    }


@pytest.mark.parametrize(
    ("raw", "problem"), [("%FF", "gid: is not UTF-8"), ("a%00", "gid: has a NUL character")]
)
def test_what_is_no_text_is_refused_by_name(raw: str, problem: str) -> None:
    with pytest.raises(Invalid, match=problem):
        path_values("/transactions/{gid}", f"/transactions/{raw}")
