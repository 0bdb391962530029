"""How long a client may make things last (PROTOCOL §9): more is refused by name, and nothing is stored."""

from dataclasses import replace

import pytest

from coordinator.backoff import Timing
from coordinator.calls.branch_urls import BranchUrls
from coordinator.calls.places import Places
from coordinator.errors import Invalid
from coordinator.model import Options, Step, TransactionRequest
from coordinator.service.validate import validated_branches

SAGA = TransactionRequest("g", "saga", steps=(Step("http://h/a", ""),), payloads=(b"",))
MSG = replace(SAGA, trans_type="msg")
TIMING = Timing(request_timeout_max=300, option_seconds_max=1000)


def refused(request: TransactionRequest, timing: Timing = TIMING) -> str:
    with pytest.raises(Invalid) as caught:
        validated_branches(request, {}, timing, BranchUrls(Places()))
    return caught.value.message


@pytest.mark.parametrize(
    ("name", "most", "key"),
    [
        ("request_timeout", 300, "RequestTimeoutMax"),
        ("timeout_to_fail", 1000, "OptionSecondsMax"),
        ("retry_interval", 1000, "OptionSecondsMax"),
    ],
)
@pytest.mark.parametrize("trans_type", ["saga", "msg", "tcc", "xa"])
def test_an_option_above_its_maximum(name: str, most: int, key: str, trans_type: str) -> None:
    request = replace(SAGA, trans_type=trans_type)
    validated_branches(replace(request, options=Options(**{name: most})), {}, TIMING, BranchUrls(Places()))
    for value in (most + 1, 2**31 - 1):
        said = refused(replace(request, options=Options(**{name: value})))
        assert said == f"{name} {value} s: the most is {most} ({key})"


def test_a_delay_above_its_maximum() -> None:
    validated_branches(replace(MSG, custom_data='{"delay":1000}'), {}, TIMING, BranchUrls(Places()))
    said = refused(replace(MSG, custom_data='{"delay":1001}'))
    assert said == "custom_data.delay 1001 s: the most is 1000 (OptionSecondsMax)"


def test_the_servers_own_time_out_may_always_be_asked_for() -> None:
    generous = Timing(request_timeout=600)
    validated_branches(
        replace(SAGA, options=Options(request_timeout=600)), {}, generous, BranchUrls(Places())
    )
    assert "the most is 600" in refused(replace(SAGA, options=Options(request_timeout=601)), generous)


@pytest.mark.parametrize("status", [200, 302, 408, 425, 429, 500, 0, 4, 9, 14])
def test_a_status_that_cannot_count_as_failure(status: int) -> None:
    said = refused(replace(SAGA, options=Options(failure_statuses=(422, 3, status))))
    assert said.startswith(f"failure_statuses has {status}, which is no refusal")


def test_headers_of_a_step_keep_to_the_rules_of_headers() -> None:
    for headers, said in (({"a b": "c"}, "which is no header name"), ({"a": "ü"}, "printable ASCII")):
        step = Options(step_headers={"01": headers})
        assert said in refused(replace(SAGA, options=step))
        assert "steps[0].headers" in refused(replace(SAGA, options=step))
    validated_branches(
        replace(SAGA, options=Options(step_headers={"01": {"x-user": "7"}})), {}, TIMING, BranchUrls(Places())
    )
