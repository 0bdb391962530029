"""The `options` column (PROTOCOL §3, §14)."""

import pytest

from coordinator.errors import Invalid
from coordinator.model import Options
from coordinator.store.options import decode_options, encode_options


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (Options(), '{"concurrent":false}'),
        (Options(wait_result=True), '{"wait_result":true,"concurrent":false}'),
        (Options(concurrent=True), '{"concurrent":true}'),
        (
            Options(True, 60, 4, 15, 3, False, {"x-team": "blue"}),
            '{"wait_result":true,"timeout_to_fail":60,"request_timeout":4,"retry_interval":15,"retry_limit":3,'
            '"branch_headers":{"x-team":"blue"},"concurrent":false}',
        ),
        (
            Options(failure_statuses=(422, 3), step_headers={"02": {"x-user": "7"}}),
            '{"failure_statuses":[422,3],"step_headers":{"02":{"x-user":"7"}},"concurrent":false}',
        ),
    ],
)
def test_options_are_stored_as_clients_know_them(options: Options, text: str) -> None:
    assert encode_options(options) == text
    assert decode_options(text) == options


@pytest.mark.parametrize("text", [None, "", "null", "[]", "7", "{", '"text"'])
def test_what_is_no_options_is_none_given(text: str | None) -> None:
    assert decode_options(text) == Options()


def test_values_of_the_wrong_kind_are_not_given() -> None:
    text = (
        '{"wait_result":1,"timeout_to_fail":"60","retry_limit":true,"branch_headers":{"a":1,"b":"c"},'
        '"failure_statuses":["422",true],"step_headers":[]}'
    )
    assert decode_options(text) == Options(branch_headers={"b": "c"})


@pytest.mark.parametrize("seconds", [-1, 2**31, 10**18])
def test_seconds_that_no_client_of_ours_may_give_are_not_given(seconds: int) -> None:
    """Another program stored them; a lease of that length would end beyond the last date."""
    assert decode_options(f'{{"request_timeout":{seconds},"retry_limit":2}}') == Options(retry_limit=2)


@pytest.mark.parametrize("options", [Options(retry_limit=2**70), Options(branch_headers={"a": "\ud800"})])
def test_what_cannot_be_written_is_invalid(options: Options) -> None:
    with pytest.raises(Invalid, match="the options cannot be stored"):
        encode_options(options)
