"""Why a transaction waits: one sentence and a code for everything that can hold it up."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from coordinator.attempt import Kind
from coordinator.explain.codes import CODES
from coordinator.explain.play import Rows
from coordinator.explain.why import Facts, code_of, why
from coordinator.hold import Hold
from coordinator.model import Options, Status
from tests.unit.explain.rows import NOW, TIMING, attempt, rows

PREPARED, SUBMITTED, ABORTING = Status.PREPARED, Status.SUBMITTED, Status.ABORTING
SAGA = rows("saga", SUBMITTED, "pspp")
UNDOING = rows("saga", ABORTING, "pspf")
DRIVEN = rows("saga", SUBMITTED, "pspp", owner="east/1/7")
EARLIER = NOW - timedelta(minutes=2)


def failing(kind: Kind, status: int | None = None, **values: Any) -> dict[str, Any]:
    return {"attempts": [attempt("02", "action", kind, status, **values)]}


def undoing(kind: Kind, status: int | None = None) -> dict[str, Any]:
    return {"attempts": [attempt("02", "compensate", kind, status)]}


REASONS: list[tuple[Rows, dict[str, Any], str, str]] = [
    (DRIVEN, {"driver_is_alive": True}, "W01", "driven just now, by east"),
    (
        DRIVEN,
        {"driver_seen": EARLIER},
        "W02",
        "leased until 2026-01-01 12:00:40 UTC by east, which is not seen",
    ),
    (DRIVEN, {}, "W02", "which was never seen"),
    (
        rows("msg", SUBMITTED, "p", custom_data='{"delay":7200}'),
        {},
        "W03",
        "called before 2026-01-01 13:00:00",
    ),
    (rows("saga", PREPARED, "pp"), {}, "W04", "has prepared it and not submitted it"),
    (rows("tcc", PREPARED, "pp", create_time=NOW), {}, "W04", "it is rolled back at 2026-01-01 12:00:35"),
    (rows("msg", PREPARED, "p", create_time=NOW), {}, "W04", "its sender is asked at 2026-01-01 12:00:35"),
    (rows("workflow", PREPARED, "s"), {}, "W04", "called back at 2026-01-01 12:00:40"),
    (SAGA, {"is_full": True}, "W05", "action of 02 waits for a place: ledger:8080 has its fill"),
    (SAGA, failing(Kind.FULL), "W05", "no connection free for http://ledger:8080"),
    (
        SAGA,
        {"hold": Hold("http://ledger:8080", "its rack is moved", "anna", EARLIER, NOW + timedelta(hours=1))},
        "W06",
        "http://ledger:8080 is held until 2026-01-01 13:00:00 UTC by anna: its rack is moved",
    ),
    (rows("saga", SUBMITTED, "pp", next_cron_time=EARLIER), {}, "W07", "no coordinator has taken it up"),
    (SAGA, {}, "W08", "goes on at 2026-01-01 12:00:40"),
    (UNDOING, undoing(Kind.REFUSED), "W11", "compensate of 02 does not succeed: http://ledger:8080 refuses"),
    (SAGA, failing(Kind.TIMEOUT), "W12", "gave no answer within 3 s"),
    (SAGA, failing(Kind.TLS), "W13", "TLS"),
    (SAGA, failing(Kind.STATUS, 404), "W14", "answers 404, no such path"),
    (SAGA, failing(Kind.STATUS, 12), "W14", "no such path"),
    (SAGA, failing(Kind.STATUS, 503), "W15", "answers 503 (boom)"),
    (SAGA, failing(Kind.STATUS, 14), "W15", "answers 14"),
    (SAGA, failing(Kind.DNS), "W16", "leads nowhere"),
    (SAGA, failing(Kind.STATUS, 422), "W17", "refuses the request itself"),
    (SAGA, failing(Kind.STATUS, 3), "W17", "refuses the request itself"),
    (SAGA, failing(Kind.STATUS, 201), "W18", "no success"),
    (SAGA, failing(Kind.BROKEN), "W19", "broke off"),
    (SAGA, failing(Kind.ONGOING, 425), "W21", "says ONGOING, not finished yet, 20 times"),
    (UNDOING, undoing(Kind.FAILURE, 409), "W22", "says FAILURE (boom)"),
    (SAGA, {"clocks_apart": 61.0}, "W31", "61 s apart"),
    (SAGA, {"url_problem": "may not be called: …"}, "W32", "its url may not be called: …"),
    (SAGA, failing(Kind.PLACE), "W32", "may not be called"),
    (rows("saga", SUBMITTED, "spp"), {}, "W33", "a saga's step has no action row"),
    (rows("strange", SUBMITTED, "p"), {}, "W33", "its trans_type is 'strange'"),
    (SAGA, failing(Kind.URL), "W34", "cannot be sent"),
    (rows("saga", Status.SUCCEED, "psps"), {}, "W40", "has succeeded"),
    (rows("saga", Status.FAILED, "sssf", rollback_reason="no money"), {}, "W41", "no money"),
    (rows("saga", Status.FAILED, "pspp"), {}, "W42", "was stopped"),
]


@pytest.mark.parametrize(("stored", "facts", "code", "says"), REASONS)
def test_the_sentence_and_its_code(stored: Rows, facts: dict[str, Any], code: str, says: str) -> None:
    answer = why(TIMING, stored, Facts(NOW, **facts))
    assert answer.code.id == code, answer.sentence
    assert says in answer.sentence
    assert answer.sentence[0].isupper()
    assert answer.sentence.endswith(".")
    assert "GID" not in answer.what_to_do


def test_every_code_is_shown_above() -> None:
    assert {code for _, _, code, _ in REASONS} == set(CODES)


def test_what_failed_before_and_is_done_now_is_no_reason() -> None:
    answer = why(TIMING, SAGA, Facts(NOW, [attempt("01", "action", Kind.REFUSED)]))
    assert answer.code.id == "W08"


def test_the_latest_of_those_that_are_called_together_counts() -> None:
    both = rows("saga", SUBMITTED, "pppp", custom_data='{"concurrent":true}')
    attempts = [
        attempt("01", "action", Kind.REFUSED, last=EARLIER),
        attempt("02", "action", Kind.TIMEOUT, last=NOW),
    ]
    assert why(TIMING, both, Facts(NOW, attempts)).code.id == "W12"
    assert why(TIMING, both, Facts(NOW, attempts[::-1])).code.id == "W12"


def test_who_is_driven_and_has_failed_is_still_explained_by_the_failure() -> None:
    answer = why(TIMING, DRIVEN, Facts(NOW, driver_is_alive=True, **failing(Kind.REFUSED)))
    assert answer.code.id == "W11"
    assert "called again just now" in answer.sentence


def test_what_is_past_its_time_limit_is_explained_by_what_comes_next() -> None:
    """The action that failed will not be called any more: it is rolled back at the next look."""
    limited = rows("saga", SUBMITTED, "pspp", options=Options(timeout_to_fail=60))
    assert why(TIMING, limited, Facts(NOW, **failing(Kind.REFUSED))).code.id == "W08"
    assert why(TIMING, limited, Facts(NOW, **undoing(Kind.REFUSED))).code.id == "W11"


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_of_trouble_has_a_code(kind: Kind) -> None:
    assert code_of(kind, 500 if kind is Kind.STATUS else None) in CODES


def test_codes_keep_their_order_and_tell_what_to_do() -> None:
    assert list(CODES) == sorted(CODES)
    for code in CODES.values():
        assert re.fullmatch(r"W\d\d", code.id)
        assert code.what_to_do


def sleeping(until: str, **values: Any) -> Rows:
    found = rows("workflow", PREPARED, "ss", next_cron_time=NOW + timedelta(hours=1), **values)
    asleep = replace(found.branches[1], url="sleep", payload=f'"{until}"'.encode())
    return replace(found, branches=(found.branches[0], asleep))


def test_a_workflow_that_sleeps_says_until_when_whatever_failed_before() -> None:
    failed = Facts(NOW, attempts=[attempt("00", "transfer", Kind.STATUS, 500)])
    for facts in (Facts(NOW), failed):
        said = why(TIMING, sleeping("2026-01-01T13:00:00.000+00:00"), facts)
        assert (said.code.id, said.sentence) == (
            "W03",
            "It sleeps until 2026-01-01 13:00:00 UTC: its client is called back then.",
        )


@pytest.mark.parametrize("until", ["2026-01-01T11:00:00.000+00:00", "soon", "2026-01-01T15:00:00.000+00:00"])
def test_one_that_has_slept_or_is_called_back_before_does_not(until: str) -> None:
    assert why(TIMING, sleeping(until), Facts(NOW)).code.id == "W04"
