"""A transaction object in JSON → TransactionRequest (PROTOCOL §3)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from coordinator.api.decode import decode_gid, decode_transaction, transaction_from
from coordinator.errors import Invalid
from coordinator.model import Options, Place, Step, TransactionRequest

SAGA = {
    "gid": "g1",
    "trans_type": "saga",
    "steps": [
        {"action": "http://a/out", "compensate": "http://a/out-undo"},
        {"action": "http://a/in", "compensate": "http://a/in-undo"},
    ],
    "payloads": ['{"amount":30}', '{"amount":31}'],
    "wait_result": True,
}


def decode(document: Any) -> TransactionRequest:
    return decode_transaction(json.dumps(document).encode())


def test_a_saga_of_two_steps() -> None:
    assert decode(SAGA) == TransactionRequest(
        gid="g1",
        trans_type="saga",
        steps=(Step("http://a/out", "http://a/out-undo"), Step("http://a/in", "http://a/in-undo")),
        payloads=(b'{"amount":30}', b'{"amount":31}'),
        options=Options(wait_result=True),
    )


def test_every_field() -> None:
    everything = {
        "gid": "g1",
        "trans_type": "msg",
        "steps": [{"action": "a"}],
        "payloads": ["ü"],
        "query_prepared": "http://q",
        "protocol": "grpc",
        "custom_data": '{"delay":3}',
        "rollback_reason": "because",
        "req_extra": {"status": "succeed"},
        "wait_result": True,
        "timeout_to_fail": 1,
        "request_timeout": 2,
        "retry_interval": 3,
        "retry_limit": 4,
        "concurrent": True,
        "branch_headers": {"x-team": "blue"},
    }
    assert decode(everything) == TransactionRequest(
        gid="g1",
        trans_type="msg",
        steps=(Step("a", ""),),
        payloads=("ü".encode(),),
        query_prepared="http://q",
        protocol="grpc",
        options=Options(
            wait_result=True,
            timeout_to_fail=1,
            request_timeout=2,
            retry_interval=3,
            retry_limit=4,
            concurrent=True,
            branch_headers={"x-team": "blue"},
        ),
        custom_data='{"delay":3}',
        rollback_reason="because",
        req_extra={"status": "succeed"},
    )


def test_an_empty_object_has_every_default() -> None:
    assert decode({}) == TransactionRequest(gid="", trans_type="", protocol="http")


def test_keys_match_whatever_their_case_and_unknown_ones_are_ignored() -> None:
    shouted = {
        "GID": "g1",
        "Trans_Type": "saga",
        "STEPS": [{"Action": "a", "COMPENSATE": "c"}],
        "passthrough_headers": ["x"],
        "nonsense": {"a": [1]},
    }
    assert decode(shouted) == TransactionRequest(gid="g1", trans_type="saga", steps=(Step("a", "c"),))


def test_of_two_keys_that_differ_in_case_the_later_counts_unless_it_is_null() -> None:
    assert decode_transaction(b'{"gid":"first","GID":"second"}').gid == "second"
    assert decode_transaction(b'{"gid":"first","GID":null}').gid == "first"


def test_null_is_as_absent() -> None:
    nothing = dict.fromkeys(
        [*SAGA, "branch_headers", "timeout_to_fail", "concurrent", "protocol", "req_extra"]
    )
    assert decode(nothing) == decode({})
    assert decode({"steps": [{"action": None}], "payloads": [None]}).payloads == (b"",)
    assert decode({"branch_headers": {"a": None, "b": "c"}}).options.branch_headers == {"b": "c"}


def test_clients_of_old_put_the_payload_into_the_step() -> None:
    old = decode({"steps": [{"action": "a", "data": '{"a":1}'}, {"action": "b"}]})
    assert old.payloads == (b'{"a":1}', b"")
    assert decode({"steps": [{"action": "a", "data": "x"}], "payloads": ["y"]}).payloads == (b"y",)
    assert decode({"steps": [{"action": "a"}]}).payloads == ()


def test_a_gid_loses_newline_carriage_return_and_semicolon() -> None:
    assert decode({"gid": "a\nb\rc;d e"}).gid == "abcd e"
    assert decode_gid(b'{"Gid":"a;b","Reason":"why"}') == ("ab", "why")
    assert decode_gid(b"{}") == ("", "")


BAD = [
    # not JSON at all
    (b"", "the body is empty where JSON is expected"),
    (b"no json", "the body is not JSON: "),
    (b'{"gid":"a"} x', "the body is not JSON: "),
    (b'{"gid":"a"}{"gid":"b"}', "the body is not JSON: "),
    (b'{"gid":"a",}', "the body is not JSON: "),
    (b'{"gid":"\xff"}', "the body is not UTF-8: byte 0xff at position 8"),
    (rb'{"gid":"\ud800"}', "the body is not JSON: "),  # a lone surrogate
    (b"[" * 100_000, "the body is not JSON: "),
    (b'{"timeout_to_fail":NaN}', "the body is not JSON: "),
    # JSON, but no object
    (b"null", "the body: must be a JSON object, not null"),
    (b"[]", "the body: must be a JSON object, not an array"),
    (b'"gid"', "the body: must be a JSON object, not a string"),
    (b"1", "the body: must be a JSON object, not a number"),
    # texts
    (b'{"gid":1}', "gid: must be a string, not a number"),
    (b'{"GID":1}', "gid: must be a string, not a number"),
    (b'{"trans_type":true}', "trans_type: must be a string, not a boolean"),
    (b'{"query_prepared":[]}', "query_prepared: must be a string, not an array"),
    (b'{"protocol":{}}', "protocol: must be a string, not an object"),
    (b'{"custom_data":{"concurrent":true}}', "custom_data: must be a string, not an object"),
    (b'{"rollback_reason":1.5}', "rollback_reason: must be a string, not a number"),
    # flags
    (b'{"wait_result":"true"}', "wait_result: must be true or false, not a string"),
    (b'{"wait_result":1}', "wait_result: must be true or false, not a number"),
    (b'{"concurrent":0}', "concurrent: must be true or false, not a number"),
    # numbers
    (
        b'{"timeout_to_fail":2.0}',
        "timeout_to_fail: must be an integer from 0 to 9223372036854775807, not 2.0",
    ),
    (b'{"request_timeout":"3"}', "request_timeout: must be an integer, not a string"),
    (b'{"retry_limit":true}', "retry_limit: must be an integer, not a boolean"),
    (b'{"retry_interval":-1}', "retry_interval: must not be negative, but is -1"),
    (
        b'{"timeout_to_fail":9223372036854775808}',
        "timeout_to_fail: must be at most 9223372036854775807, but is 9223372036854775808",
    ),
    (b'{"timeout_to_fail":1' + b"0" * 30 + b"}", "timeout_to_fail: must be an integer from 0 to "),
    # steps
    (b'{"steps":"[]"}', "steps: must be an array, not a string"),
    (b'{"steps":[{},1]}', "steps[1]: must be an object, not a number"),
    (b'{"steps":[null]}', "steps[0]: must be an object, not null"),
    (b'{"steps":[{},{"action":5}]}', "steps[1].action: must be a string, not a number"),
    (b'{"steps":[{"compensate":[]}]}', "steps[0].compensate: must be a string, not an array"),
    (b'{"steps":[{},{"data":{"a":1}}]}', "steps[1].data: must be a string, not an object"),
    (b'{"steps":[' + b"{}," * 1000 + b"{}]}", "steps: a transaction may have at most 1000, but has 1001"),
    # payloads
    (
        b'{"payloads":[' + b'"",' * 1000 + b'""]}',
        "payloads: a transaction may have at most 1000, but has 1001",
    ),
    (b'{"payloads":"{}"}', "payloads: must be an array, not a string"),
    (b'{"payloads":["{}",{"amount":30}]}', "payloads[1]: must be a string, not an object"),
    # maps
    (b'{"branch_headers":[]}', "branch_headers: must be an object, not an array"),
    (b'{"branch_headers":{"a":"b","x":1}}', "branch_headers.x: must be a string, not a number"),
    (b'{"req_extra":"x"}', "req_extra: must be an object, not a string"),
    (b'{"req_extra":{"status":null,"result":false}}', "req_extra.result: must be a string, not a boolean"),
]


@pytest.mark.parametrize(("body", "sentence"), BAD, ids=range(len(BAD)))
def test_bad_input_is_named(body: bytes, sentence: str) -> None:
    with pytest.raises(Invalid) as raised:
        decode_transaction(body)
    assert raised.value.message.startswith(sentence)
    assert len(raised.value.message) < 200


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"null", b'{"gid":1}', b'{"gid":"a"} '[:-2]])
def test_a_bad_gid_body_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        decode_gid(body)


FIELDS = sorted(
    (
        *SAGA,
        "GID",
        "Steps",
        "data",
        "action",
        "compensate",
        "branch_headers",
        "req_extra",
        "timeout_to_fail",
        "concurrent",
        "custom_data",
    )
)
json_values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(),
    lambda inner: (
        some.lists(inner, max_size=4)
        | some.dictionaries(some.sampled_from(FIELDS) | some.text(), inner, max_size=6)
    ),
    max_leaves=20,
)


@given(some.binary())
def test_any_bytes_are_a_request_or_invalid(body: bytes) -> None:
    _is_request_or_invalid(body)


@given(some.dictionaries(some.sampled_from(FIELDS), json_values, max_size=8) | json_values)
def test_any_json_is_a_request_or_invalid(document: Any) -> None:
    # ensure_ascii leaves lone surrogates as escapes; NaN is what some serialisers write.
    request = _is_request_or_invalid(json.dumps(document).encode())
    if request is not None:
        assert all(type(payload) is bytes for payload in request.payloads)
        assert all(type(step.action) is str and type(step.compensate) is str for step in request.steps)
        assert not set("\n\r;") & set(request.gid)


@given(some.dictionaries(some.sampled_from(FIELDS), json_values, max_size=8))
def test_the_order_and_case_of_keys_do_not_matter(document: dict[str, Any]) -> None:
    document = {key.lower(): value for key, value in document.items()}
    shouted = {key.upper(): document[key] for key in reversed(list(document))}
    assert _outcome(document) == _outcome(shouted)


def _outcome(document: dict[str, Any]) -> object:
    try:
        return repr(transaction_from(document))
    except Invalid:
        return Invalid


def _is_request_or_invalid(body: bytes) -> TransactionRequest | None:
    try:
        return decode_transaction(body)
    except Invalid as error:
        assert error.message
        return None


@pytest.mark.parametrize(
    ("body", "given"),
    [
        (b'{"gid":"g"}', set()),
        (b'{"gid":"g","Timeout_To_Fail":0,"wait_result":false}', {"timeout_to_fail", "wait_result"}),
        (b'{"gid":"g","branch_headers":null,"retry_limit":3}', {"retry_limit"}),
    ],
)
def test_the_options_that_were_named_are_known_whatever_their_value(body: bytes, given: set[str]) -> None:
    """PROTOCOL §5: what a submit does not give keeps its prepared value."""
    assert decode_transaction(body).given == given


def test_headers_of_steps_and_statuses_that_count_as_failure() -> None:
    steps = [{"action": "http://h/a"}, {"action": "http://h/b", "headers": {"x-user": "7", "x-none": None}}]
    request = decode(SAGA | {"steps": steps, "failure_statuses": [422, 3]})
    assert request.options.step_headers == {"02": {"x-user": "7"}}
    assert request.options.failure_statuses == (422, 3)
    assert request.options.headers_for("01") == {}
    assert decode(SAGA | {"steps": [{"action": "", "headers": {}}]}).options.step_headers is None


def test_results_that_steps_keep_and_use() -> None:
    steps = [
        {
            "action": "http://h/a",
            "KEEP_RESULT": True,
            "compensate_payload": "",
            "compensate_from_results": [{"step": 0}],
        },
        {
            "action": "http://h/b",
            "from_results": [{"at": "$.x", "Step": 0, "path": "$.y"}],
            "keep_result": None,
        },
    ]
    first, second = decode(SAGA | {"steps": steps}).steps
    assert first == Step(
        "http://h/a", keep_result=True, compensate_payload=b"", compensate_from_results=(Place("$", 0, "$"),)
    )
    assert second == Step("http://h/b", from_results=(Place("$.x", 0, "$.y"),))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"steps": [{"keep_result": 1}]}, "steps[0].keep_result: must be true or false, not a number"),
        ({"steps": [{"from_results": {}}]}, "steps[0].from_results: must be an array, not an object"),
        ({"steps": [{"from_results": [0]}]}, "steps[0].from_results[0]: must be an object, not a number"),
        (
            {"steps": [{"from_results": [{"path": "$"}]}]},
            "steps[0].from_results[0].step is missing: whose result, counted from 0",
        ),
        (
            {"steps": [{"compensate_from_results": [{"step": "0"}]}]},
            "steps[0].compensate_from_results[0].step: must be an integer, not a string",
        ),
        (
            {"steps": [{"compensate_payload": {}}]},
            "steps[0].compensate_payload: must be a string, not an object",
        ),
        ({"failure_statuses": 422}, "failure_statuses: must be an array, not a number"),
        ({"failure_statuses": ["422"]}, "failure_statuses[0]: must be an integer, not a string"),
        ({"steps": [{"headers": []}]}, "steps[0].headers: must be an object, not an array"),
        ({"steps": [{"headers": {"a": 1}}]}, "steps[0].headers.a: must be a string, not a number"),
    ],
)
def test_wrong_ones_are_named(more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Invalid) as caught:
        decode(SAGA | more)
    assert caught.value.message == sentence


def test_a_step_s_headers_go_before_those_of_all_whatever_their_case() -> None:
    options = Options(branch_headers={"X-User": "1", "x-team": "blue"}, step_headers={"02": {"x-user": "7"}})
    assert options.headers_for("01") == {"X-User": "1", "x-team": "blue"}
    assert options.headers_for("02") == options.headers_for("02-01") == {"x-user": "7", "x-team": "blue"}
