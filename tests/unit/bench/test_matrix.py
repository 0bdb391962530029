"""Which measurements a run consists of."""

import pytest

from bench.matrix import Addresses, Cell, Matrix, addresses, choices, named, numbers

MATRIX = Matrix(("saga", "tcc"), ("http", "grpc"), ("mariadb", "sqlite"), (1, 16), rounds=5, seconds=8)


def test_every_combination_is_measured_once():
    cells = [cell for store in MATRIX.stores for cell in MATRIX.cells(store)]
    assert len(set(cells)) == len(cells) == 16
    assert MATRIX.cells("sqlite")[:3] == [
        Cell("sqlite", "http", "saga", 1),
        Cell("sqlite", "http", "saga", 16),
        Cell("sqlite", "http", "tcc", 1),
    ]


def test_how_long_it_takes_is_known_before():
    assert MATRIX.estimated_seconds(2, warm_up_seconds=1) == 16 * 2 * 41


def test_choices_keep_the_order_given():
    assert choices("tcc,saga,tcc", ("saga", "tcc")) == ("tcc", "saga")
    with pytest.raises(ValueError, match=r"'sago': not one of saga, tcc"):
        choices("saga,sago", ("saga", "tcc"))


def test_numbers_are_at_least_one():
    assert numbers("1,16,64") == (1, 16, 64)
    for text in ("0", "1,-2", "", "many"):
        with pytest.raises(ValueError, match=r".+"):
            numbers(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("old=../other", ("old", "../other")),
        ("../other/", ("other", "../other/")),
        ("/opt/dtm", ("dtm", "/opt/dtm")),
    ],
)
def test_a_server_is_named_or_has_the_name_of_its_folder(text, expected):
    assert named(text) == expected


@pytest.mark.parametrize("text", ["=x", "x="])
def test_half_a_name_is_refused(text):
    with pytest.raises(ValueError, match="NAME=VALUE"):
        named(text)


def test_a_running_server_has_an_http_address_and_perhaps_one_for_grpc():
    assert addresses("a=http://h:1/") == Addresses("a", "h:1", "")
    assert addresses("a=http://h:1,grpc://h:2") == Addresses("a", "h:1", "h:2")


@pytest.mark.parametrize("text", ["http://h:1", "a=h:1", "a=grpc://h:2", "a=https://h:1", "a=http://", "a="])
def test_a_running_server_without_name_or_http_address_is_refused(text):
    with pytest.raises(ValueError, match="NAME=http://host:port"):
        addresses(text)
