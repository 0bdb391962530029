"""Light values are made, compared and copied as frozen dataclasses are, by every class that is one."""

import copy
import pickle
from dataclasses import MISSING, dataclass, field, fields, replace
from inspect import signature
from typing import Any

import pytest

from coordinator.calls.base import Answer
from coordinator.engine.lease import Ended
from coordinator.engine.round_calls import LetIn
from coordinator.engine.shelf import Known
from coordinator.light import light
from coordinator.model import Branch, BranchRequest, Options, Step, Transaction, TransactionRequest
from coordinator.patterns.decision import Finish, Run
from coordinator.store.base import Assign, Candidate, Change, Claim, Deferral, Due, Move, Moved, Stored
from coordinator.store.gathered import Insertion, Update

LIGHT = (
    *(Branch, BranchRequest, Options, Step, Transaction, TransactionRequest, Answer, Ended, LetIn, Known),
    *(Finish, Run, Assign, Candidate, Change, Claim, Deferral, Due, Move, Moved, Stored, Insertion, Update),
)


def made(cls: Any, **given: Any) -> Any:
    """One with a value of its own in every field that must be given."""
    needed = {it.name: f"a {it.name}" for it in fields(cls) if it.init and _is_needed(it)}
    return cls(**{**needed, **given})


def _is_needed(it: Any) -> bool:
    return it.default is MISSING and it.default_factory is MISSING


@pytest.mark.parametrize("cls", LIGHT)
def test_it_is_made_as_its_fields_say(cls: Any) -> None:
    value = made(cls)
    for it in fields(cls):
        if not _is_needed(it):
            expected = it.default if it.default is not MISSING else it.default_factory()  # type: ignore[operator]
        else:
            expected = f"a {it.name}"
        assert getattr(value, it.name) == expected
    assert [*signature(cls).parameters] == [it.name for it in fields(cls) if it.init]
    with pytest.raises(TypeError):
        made(cls, unknown=1)
    assert cls.__dataclass_params__.frozen  # by which the type checker goes, and the hash


@pytest.mark.parametrize("cls", LIGHT)
def test_it_is_compared_and_copied_whole(cls: Any) -> None:
    value, first = made(cls), next(it.name for it in fields(cls) if it.init and it.compare)
    other = replace(value, **{first: "another"})
    assert getattr(other, first) == "another"
    assert value != other
    assert value == made(cls) == copy.copy(value) == pickle.loads(pickle.dumps(value))


def test_what_is_made_by_a_factory_is_nobody_elses() -> None:
    @light
    @dataclass(frozen=True, slots=True)
    class Value:
        name: str
        more: list[str] = field(default_factory=list)
        last: int = field(default=3, kw_only=True)

    one, two = Value("one"), Value("two", last=4)
    one.more.append("x")
    assert (two.more, one.last, two.last) == ([], 3, 4)
    assert hash(made(Branch)) == hash(made(Branch))
    with pytest.raises(TypeError):
        Value("three", [], 4)  # type: ignore[call-arg]


def test_a_class_that_does_more_when_it_is_made_is_refused() -> None:
    @dataclass(frozen=True, slots=True)
    class Checked:
        name: str

        def __post_init__(self) -> None: ...

    with pytest.raises(TypeError, match="__post_init__"):
        light(Checked)
