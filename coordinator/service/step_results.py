"""What steps that keep results, and payloads that use them, must keep to (PROTOCOL §6, *here*). Pure."""

from collections.abc import Sequence

from coordinator.errors import Invalid
from coordinator.model import Place, Step, TransactionRequest, TransType
from coordinator.patterns import saga
from coordinator.results import (
    KEPT_MAX,
    PLACES_MAX,
    marked,
    path_of,
    template,
    undo_of,
)
from coordinator.store.limits import BYTES_MAX, TEXT_MAX


def keeps_results(request: TransactionRequest) -> bool:
    """Whether a step keeps its result."""
    return any(step.keep_result for step in request.steps)


def check_step_results(request: TransactionRequest, *, missing: str = "") -> None:
    """Raise Invalid, naming the field, unless every result that is used is there when it is needed.

    missing: why none can be kept; empty where they can.
    """
    steps = request.steps
    if request.trans_type != TransType.SAGA:
        _refuse_others(steps)
        return
    if all(step.is_plain for step in steps):
        return
    for index, step in enumerate(steps):
        if step.keep_result and missing:
            raise Invalid(f"steps[{index}].keep_result: {missing}")
        if step.keep_result and not step.action:
            raise Invalid(f"steps[{index}].keep_result: there is no action, and so no result")
    if (kept := sum(step.keep_result for step in steps)) > KEPT_MAX:
        raise Invalid(f"{kept} steps have keep_result; at most {KEPT_MAX} may")
    try:
        before = saga.steps_before(saga.order_of(request.custom_data, request.options.concurrent, len(steps)))
    except ValueError as error:
        raise Invalid(str(error)) from error
    for index, (step, payload) in enumerate(zip(steps, request.payloads, strict=True)):
        has_own = step.compensate_payload is not None or bool(step.compensate_from_results)
        undo_payload, undo_places = undo_of(step, payload)
        name = f"steps[{index}].from_results"
        _check_places(name, payload, step.from_results, steps, before[index])
        if has_own:
            name = f"steps[{index}].compensate_from_results"
            _check_places(name, undo_payload, undo_places, steps, before[index] | 1 << index)
        longest = max(
            len(marked(step.action, keeps=step.keep_result, uses=bool(step.from_results))),
            len(marked(step.compensate, uses=bool(undo_places))),
        )
        if longest > TEXT_MAX:
            raise Invalid(f"steps[{index}]: a url of {longest} characters, with what is stored before it, is"
                          f" too long: at most {TEXT_MAX} fit")  # fmt: skip


def _refuse_others(steps: Sequence[Step]) -> None:
    for index, step in enumerate(steps):
        for field in ("keep_result", "from_results", "compensate_payload", "compensate_from_results"):
            if getattr(step, field):
                raise Invalid(f"steps[{index}].{field}: only the steps of a saga keep and use results")


def _check_places(
    name: str, payload: bytes, places: Sequence[Place], steps: Sequence[Step], before: int
) -> None:
    """before: the steps whose results are there, as bits."""
    if not places:
        return
    if len(places) > PLACES_MAX:
        raise Invalid(f"{name} has {len(places)} entries; at most {PLACES_MAX} fit")
    for number, place in enumerate(places):
        where = f"{name}[{number}]"
        for field in ("at", "path"):
            try:
                path_of(getattr(place, field))
            except ValueError as error:
                raise Invalid(f"{where}.{field}: {error}") from error
        if not 0 <= place.step < len(steps):
            raise Invalid(f"{where}.step: there is no step {place.step}; they are 0 to {len(steps) - 1}")
        if not steps[place.step].keep_result:
            raise Invalid(f"{where}.step: step {place.step} has no keep_result")
        if not before >> place.step & 1:
            raise Invalid(
                f"{where}.step: step {place.step} need not have succeeded by then: use the result of an"
                " earlier step, with `concurrent` one that custom_data.orders names before this one"
            )
    try:
        stored = template(payload, places)
    except ValueError as error:
        raise Invalid(f"{name}{error}" if str(error).startswith("[") else f"{name}: {error}") from error
    if len(stored) > BYTES_MAX:
        raise Invalid(f"{name}: with its payload it has {len(stored)} bytes; at most {BYTES_MAX} fit")
