"""Cases of operations for every protocol: what is asked and answered, what is stored and called then.

In contents and texts `@ok`, `@fail`, `@ongoing` and `@boom` stand for the url of a branch that says so, in
the protocol of the case; `GID` and `TOPIC` stand for names of the case's own. In texts `…` is anything.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from grpclib.const import Status

from tests.support.three_clients import ERROR, FAILURE, ONGOING, PROTOCOLS, SUCCESS

PAYLOAD: Final = '{"amount":30}'
NOT_DONE: Final = "wait result not return success: FAILURE"
UNKNOWN_GID: Final = "no TransGlobal with gid: GID found"
WORKFLOW: Final = {
    "gid": "GID",
    "trans_type": "workflow",
    "custom_data": '{"name":"register","data":"e30="}',
    "query_prepared": "@ok",
}


@dataclass(frozen=True, slots=True)
class Call:
    """One operation and its outcome. grpc: the status where kind is `error`. value: part of what is told."""

    operation: str
    content: Mapping[str, Any]
    kind: str = SUCCESS
    text: str = ""
    grpc: Status = Status.INTERNAL
    value: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """status: "" when nothing is stored. rows: status by `01/action`. asked: the branch calls, in order."""

    name: str
    section: str  # of PROTOCOL
    calls: tuple[Call, ...]
    status: str = ""
    rows: Mapping[str, str] = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    any_order: bool = False  # of `asked`
    reason: str = ""  # the stored rollback_reason

    def __str__(self) -> str:
        return f"§{self.section} {self.name}"


def saga(*actions: str, compensate: str = "ok", **more: Any) -> dict[str, Any]:
    """A saga that waits for its result."""
    return {
        "gid": "GID",
        "trans_type": "saga",
        "steps": [{"action": f"@{action}", "compensate": f"@{compensate}"} for action in actions],
        "payloads": [PAYLOAD] * len(actions),
        "wait_result": True,
        **more,
    }


def message(*actions: str, **more: Any) -> dict[str, Any]:
    """A message that waits for its result; an action is a branch's answer or a topic."""
    return {
        "gid": "GID",
        "trans_type": "msg",
        "steps": [{"action": it if it.startswith("topic:") else f"@{it}"} for it in actions],
        "payloads": [PAYLOAD] * len(actions),
        "query_prepared": "@ok",
        "wait_result": True,
        **more,
    }


def cases() -> Iterator[Case]:
    """Every case, the plainest first."""
    yield Case("a new gid", "3", (Call("newGid", {}),))
    yield from _sagas()
    yield from _messages()
    yield from _topics()
    for pattern in (TCC, XA):
        yield from _registered(pattern)
    yield from _workflows()


def protocols_of(case: Case, operations: Mapping[str, frozenset[str]]) -> list[str]:
    """The protocols that have all operations of the case."""
    return [name for name in PROTOCOLS if all(it.operation in operations[name] for it in case.calls)]


def _done(*steps: str) -> dict[str, str]:
    """Rows of a saga, in pairs (compensate, action), by what each status begins with."""
    words = {"p": "prepared", "s": "succeed", "f": "failed"}
    return {
        f"{number:02d}/{op}": words[letter]
        for number, pair in enumerate(steps, start=1)
        for op, letter in zip(("compensate", "action"), pair, strict=True)
    }


def _sagas() -> Iterator[Case]:
    failed = "url:@fail return failed: …no money… FAILURE"
    ok = Call("submit", saga("ok", "ok"))
    abort = Call("abort", {"gid": "GID", "trans_type": "saga"}, FAILURE)
    yield Case("a saga succeeds", "6", (ok,), "succeed", _done("ps", "ps"), ("01/action", "02/action"))
    yield Case("a saga without steps succeeds", "5", (Call("submit", saga()),), "succeed")
    yield Case(
        "a saga whose second action fails is rolled back",
        "6",
        (Call("submit", saga("ok", "fail"), FAILURE, failed),),
        "failed",
        _done("ss", "sf"),
        ("01/action", "02/action", "02/compensate", "01/compensate"),
        reason=failed,
    )
    yield Case(
        "a saga whose compensation has no result goes on rolling back",
        "6",
        (Call("submit", saga("fail", compensate="boom"), FAILURE, failed),),
        "aborting",
        _done("pf"),
        ("01/action", "01/compensate"),
        reason=failed,
    )
    for answer in ("ongoing", "boom"):
        yield Case(
            f"a saga whose action says {answer} is no success and stays submitted",
            "5",
            (Call("submit", saga("ok", answer, "ok"), FAILURE, NOT_DONE),),
            "submitted",
            _done("ps", "pp", "pp"),
            ("01/action", "02/action"),
        )
    orders = '{"concurrent":true,"orders":{"1":[0]}}'
    yield Case(
        "a concurrent saga obeys its orders",
        "6",
        (Call("submit", saga("fail", "ok", custom_data=orders), FAILURE, failed),),
        "failed",
        _done("sf", "pp"),
        ("01/action", "01/compensate"),
        reason=failed,
    )
    yield Case(
        "a prepared saga waits for its submit",
        "5",
        (Call("prepare", saga("ok")), Call("prepare", saga("ok"))),
        "prepared",
        _done("pp"),
    )
    yield Case(
        "a prepared saga runs when it is submitted, by its stored steps",
        "5",
        (Call("prepare", saga("ok")), Call("submit", saga("ok", "fail"))),
        "succeed",
        _done("ps"),
        ("01/action",),
    )
    yield Case(
        "a saga is aborted by its branches alone",
        "5",
        (
            Call("prepare", saga("ok")),
            Call(
                *("abort", {"gid": "GID", "trans_type": "saga"}, FAILURE),
                "trans type: 'saga' current status 'prepared', cannot abort. FAILURE",
            ),
            Call("abort", {"gid": "GID", "trans_type": "tcc"}, FAILURE, "…saga…tcc… FAILURE"),
            Call("abort", {"gid": "GID"}, FAILURE, "…saga… FAILURE"),
        ),
        "prepared",
        _done("pp"),
    )
    yield Case(
        "a saga that has ended takes no call any more",
        "5",
        (
            ok,
            Call("submit", saga("ok"), FAILURE, "current status 'succeed', cannot sumbmit. FAILURE"),
            Call("prepare", saga("ok"), FAILURE, "current status 'succeed', cannot prepare. FAILURE"),
            Call(
                abort.operation,
                abort.content,
                FAILURE,
                "trans type: 'saga' current status 'succeed', cannot abort. FAILURE",
            ),
        ),
        "succeed",
        _done("ps", "ps"),
        ("01/action", "02/action"),
    )
    yield Case(
        "a gid that belongs to another type is refused",
        "5",
        (ok, Call("submit", message("ok"), FAILURE), Call("prepare", message("ok"), FAILURE)),
        "succeed",
        _done("ps", "ps"),
        ("01/action", "02/action"),
    )
    for trans_type in ("saga", "msg", "tcc", "xa", "workflow"):
        content = {"gid": "GID", "trans_type": trans_type}
        yield Case(
            f"abort of an unknown {trans_type} names the gid",
            "5",
            (Call("abort", content, ERROR, UNKNOWN_GID),),
        )


def _actions(*letters: str) -> dict[str, str]:
    words = {"p": "prepared", "s": "succeed"}
    return {f"{number:02d}/action": words[letter] for number, letter in enumerate(letters, start=1)}


def _messages() -> Iterator[Case]:
    both = ("01/action", "02/action")
    yield Case(
        "a message is delivered",
        "8",
        (Call("submit", message("ok", "ok")),),
        "succeed",
        _actions(*"ss"),
        both,
    )
    yield Case(
        "a concurrent message calls all",
        "8",
        (
            Call(
                "submit",
                message("boom", "ok", custom_data='{"concurrent":true}'),
                ERROR,
                "…boom…",
                Status.DATA_LOSS,
            ),
        ),
        "submitted",
        _actions(*"ps"),
        both,
        any_order=True,
    )
    yield Case(
        "a message whose action fails never rolls back",
        "8",
        (Call("submit", message("ok", "fail"), FAILURE, "…no money… FAILURE"),),
        "submitted",
        _actions(*"sp"),
        both,
    )
    yield Case(
        "a message whose action is ongoing is no success yet",
        "5",
        (Call("submit", message("ok", "ongoing"), FAILURE, NOT_DONE),),
        "submitted",
        _actions(*"sp"),
        both,
    )
    yield Case(
        "a message whose action has no result tells what it said",
        "5",
        (Call("submit", message("ok", "boom"), ERROR, "…boom…", Status.DATA_LOSS),),
        "submitted",
        _actions(*"sp"),
        both,
    )
    delayed = message("ok", custom_data='{"delay":1000}')
    yield Case(
        "a delayed message calls nobody yet",
        "8",
        (Call("submit", delayed, FAILURE, NOT_DONE),),
        "submitted",
        _actions("p"),
    )
    yield Case(
        "a prepared message waits for its submit",
        "8",
        (Call("prepare", message("ok")),),
        "prepared",
        _actions("p"),
    )
    yield Case(
        "a prepared message is delivered when it is submitted",
        "8",
        (Call("prepare", message("ok", "ok")), Call("submit", message("ok", "ok"))),
        "succeed",
        _actions(*"ss"),
        both,
    )
    abort = Call("abort", {"gid": "GID", "trans_type": "msg"})
    yield Case(
        "a prepared message is given up by an abort",
        "5",
        (
            Call("prepare", message("ok")),
            abort,
            Call("submit", message("ok"), FAILURE, "current status 'failed', cannot sumbmit. FAILURE"),
        ),
        "failed",
        _actions("p"),
    )
    yield Case(
        "a message that is submitted cannot be aborted",
        "5",
        (
            Call("submit", message("ok")),
            Call(
                *("abort", {"gid": "GID", "trans_type": "msg"}, FAILURE),
                "trans type: 'msg' current status 'succeed', cannot abort. FAILURE",
            ),
        ),
        "succeed",
        _actions("s"),
        ("01/action",),
    )
    yield Case(
        "a message to an unknown topic is refused",
        "8",
        tuple(
            Call(operation, message("ok", "topic://TOPIC"), ERROR, "topic not found")
            for operation in ("submit", "prepare")
        ),
    )


def _topics() -> Iterator[Case]:
    def subscribe(url: str, kind: str = SUCCESS, text: str = "", *, topic: str = "TOPIC") -> Call:
        return Call("subscribe", {"topic": topic, "url": url, "remark": "r"}, kind, text, Status.UNKNOWN)

    def unsubscribe(url: str, kind: str = SUCCESS, text: str = "", *, topic: str = "TOPIC") -> Call:
        return Call("unsubscribe", {"topic": topic, "url": url}, kind, text, Status.UNKNOWN)

    def delete(kind: str = SUCCESS, text: str = "") -> Call:
        return Call("topic", {"topic": "TOPIC"}, kind, text, Status.UNKNOWN)

    to_topic = Call("submit", message("ok", "topic://TOPIC"))
    yield Case(
        "a message to a topic is delivered to each subscriber",
        "8",
        (subscribe("@ok"), subscribe("@fine"), to_topic),
        "succeed",
        {"01/action": "succeed", "02-01/action": "succeed", "02-02/action": "succeed"},
        ("01/action", "02-01/action", "02-02/action"),
    )
    yield Case(
        "a message to a topic of one subscriber has plain branch ids",
        "1",
        (subscribe("@ok"), subscribe("@fine"), unsubscribe("@fine"), to_topic),
        "succeed",
        _actions(*"ss"),
        ("01/action", "02/action"),
    )
    yield Case(
        "a topic without subscribers, or deleted, is not found",
        "8",
        (
            subscribe("@ok"),
            unsubscribe("@ok"),
            Call("submit", message("topic://TOPIC"), ERROR, "topic not found"),
            unsubscribe("@ok", ERROR, "this topic is empty"),
            delete(),
            Call("submit", message("topic://TOPIC"), ERROR, "topic not found"),
        ),
    )
    yield Case(
        "subscriptions that cannot be made or ended",
        "8",
        (
            subscribe("@ok", ERROR, "empty topic", topic=""),
            subscribe("", ERROR, "empty url"),
            unsubscribe("@ok", ERROR, "empty topic", topic=""),
            unsubscribe("", ERROR, "empty url"),
            unsubscribe("@ok", ERROR, "no such a topic"),
            delete(ERROR, "no such a topic"),
            subscribe("@ok"),
            subscribe("@ok", ERROR, "this url exists"),
            unsubscribe("@fail", ERROR, "no such an url "),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Pattern:
    """What differs between tcc and xa. forward: branch ids in the order in which they are confirmed."""

    trans_type: str
    confirm: str
    cancel: str
    forward: tuple[str, str]

    def begin(self) -> Call:
        return Call("prepare", {"gid": "GID", "trans_type": self.trans_type})

    def branch(self, branch_id: str, answer: str) -> dict[str, Any]:
        urls = (
            {"url": f"@{answer}"}
            if self.trans_type == "xa"
            else {"confirm": f"@{answer}", "cancel": f"@{answer}"}
        )
        return {
            "gid": "GID",
            "trans_type": self.trans_type,
            "branch_id": branch_id,
            "data": PAYLOAD,
            **urls,
        }

    def registered(self, *answers: str) -> tuple[Call, ...]:
        """Prepare, and a branch per answer."""
        branches = [
            Call("registerBranch", self.branch(f"{number:02d}", answer))
            for number, answer in enumerate(answers, start=1)
        ]
        return (self.begin(), *branches)

    def rows(self, confirm: str, cancel: str, branches: tuple[str, ...] = ("01", "02")) -> dict[str, str]:
        return {
            f"{branch_id}/{op}": status
            for branch_id in branches
            for op, status in ((self.cancel, cancel), (self.confirm, confirm))
        }


TCC: Final = _Pattern("tcc", "confirm", "cancel", ("02", "01"))
XA: Final = _Pattern("xa", "commit", "rollback", ("01", "02"))
# What the branch answers, and what the client that waits is told of it (PROTOCOL §5, process).
_ENDINGS: Final = (
    ("fail", FAILURE, "…no money… FAILURE"),
    ("ongoing", ONGOING, "ONGOING"),
    ("boom", ERROR, "…boom…"),
)


def _registered(it: _Pattern) -> Iterator[Case]:
    kind = it.trans_type
    waiting = {"gid": "GID", "trans_type": kind, "wait_result": True}
    submit, abort = Call("submit", waiting), Call("abort", waiting | {"rollback_reason": "changed my mind"})
    confirmed = tuple(f"{branch_id}/{it.confirm}" for branch_id in it.forward)
    cancelled = tuple(f"{branch_id}/{it.cancel}" for branch_id in it.forward)
    yield Case(
        f"a submitted {kind} calls every {it.confirm}",
        "7",
        (*it.registered("ok", "ok"), submit),
        "succeed",
        it.rows("succeed", "prepared"),
        confirmed,
    )
    yield Case(
        f"an aborted {kind} calls every {it.cancel}",
        "7",
        (*it.registered("ok", "ok"), abort),
        "failed",
        it.rows("prepared", "succeed"),
        cancelled,
        reason="changed my mind",
    )
    for answer, outcome, text in _ENDINGS:
        one = it.registered(answer)
        yield Case(
            f"a {kind} whose {it.confirm} says {answer} stays submitted",
            "7",
            (*one, Call("submit", waiting, outcome, text, Status.DATA_LOSS)),
            "submitted",
            it.rows("prepared", "prepared", ("01",)),
            (f"01/{it.confirm}",),
        )
        yield Case(
            f"a {kind} whose {it.cancel} says {answer} stays aborting",
            "7",
            (*one, Call("abort", waiting, outcome, text, Status.DATA_LOSS)),
            "aborting",
            it.rows("prepared", "prepared", ("01",)),
            (f"01/{it.cancel}",),
        )
    yield Case(f"a submit of an unknown {kind} succeeds without branches", "5", (submit,), "succeed")
    identical = Call("registerBranch", it.branch("01", "ok"))
    other = Call(
        "registerBranch",
        it.branch("01", "fail"),
        ERROR,
        "branch 01 of …GID… registered already…",
        Status.UNKNOWN,
    )
    yield Case(
        f"the identical branch of a {kind} is registered once, another of that id not at all",
        "5",
        (*it.registered("ok"), identical, other),
        "prepared",
        it.rows("prepared", "prepared", ("01",)),
    )
    refused = "no trans with gid: GID status: prepared found FAILURE"
    late = Call("registerBranch", it.branch("03", "ok"), FAILURE, refused)
    ended = (f"trans type: '{kind}' current status 'succeed', cannot abort. FAILURE",)
    yield Case(
        f"a {kind} that has ended takes no call any more",
        "5",
        (
            *(*it.registered("ok", "ok"), submit, late),
            Call("submit", waiting, FAILURE, "current status 'succeed', cannot sumbmit. FAILURE"),
            Call("prepare", waiting, FAILURE, "current status 'succeed', cannot prepare. FAILURE"),
            Call("abort", waiting, FAILURE, *ended),
        ),
        "succeed",
        it.rows("succeed", "prepared"),
        confirmed,
    )
    yield Case(f"a branch of an unknown {kind} is refused", "5", (late,))
    stranger = XA if it is TCC else TCC
    yield Case(
        f"a branch for a {stranger.trans_type} is none of a {kind}",
        "5",
        (
            it.begin(),
            Call(
                "registerBranch",
                stranger.branch("01", "ok"),
                FAILURE,
                f"…'{kind}'…'{stranger.trans_type}'… FAILURE",
            ),
            Call("abort", {"gid": "GID", "trans_type": stranger.trans_type}, FAILURE, f"…'{kind}'… FAILURE"),
        ),
        "prepared",
    )
    yield Case(
        f"an aborting {kind} takes another abort and its reason, but neither branch nor submit",
        "5",
        (
            *it.registered("ongoing"),
            Call("abort", waiting | {"rollback_reason": "one"}, ONGOING, "ONGOING"),
            Call("abort", waiting | {"rollback_reason": "two"}, ONGOING, "ONGOING"),
            late,
            Call("submit", waiting, FAILURE, "current status 'aborting', cannot sumbmit. FAILURE"),
        ),
        "aborting",
        it.rows("prepared", "prepared", ("01",)),
        (f"01/{it.cancel}", f"01/{it.cancel}"),
        reason="two",
    )


def _workflows() -> Iterator[Case]:
    def step(branch_id: str, op: str, status: str, **more: Any) -> dict[str, str]:
        return {
            "gid": "GID",
            "trans_type": "workflow",
            "branch_id": branch_id,
            "op": op,
            "status": status,
            "data": "done",
            **more,
        }

    def submit(status: str, kind: str = SUCCESS, text: str = "", **extra: str) -> Call:
        return Call("submit", WORKFLOW | {"req_extra": {"status": status, **extra}}, kind, text)

    first = Call("registerBranch", step("01", "action", "succeed"))
    second = Call("registerBranch", step("02", "action", "failed"))
    progress = (
        {"branch_id": "01", "op": "action", "status": "succeed"},
        {"branch_id": "02", "op": "action", "status": "failed"},
    )

    def told(status: str, *rows: Mapping[str, str]) -> dict[str, Any]:
        return {"transaction": {"gid": "GID", "status": status}, "progresses": list(rows)}

    rows = {"01/action": "succeed", "02/action": "failed"}
    for begin in ("prepareWorkflow", "prepare"):
        yield Case(
            f"a workflow begun by {begin} records its steps and succeeds",
            "7",
            (Call(begin, WORKFLOW), first, first, second, submit("succeed", result="ZG9uZQ==")),
            "succeed",
            rows,
        )
        yield Case(
            f"a workflow begun by {begin} fails with its reason",
            "5",
            (Call(begin, WORKFLOW), submit("failed", rollback_reason="no money")),
            "failed",
            reason="no money",
        )
    yield Case(
        "a workflow that is prepared again is told its progress, in any status",
        "5",
        (
            Call("prepareWorkflow", WORKFLOW, value=told("prepared")),
            *(first, second),
            Call("prepareWorkflow", WORKFLOW, value=told("prepared", *progress)),
            submit("succeed"),
            Call("prepareWorkflow", WORKFLOW, value=told("succeed", *progress)),
        ),
        "succeed",
        rows,
    )
    ended = "current status 'succeed', cannot sumbmit."
    refused = "no trans with gid: GID status: prepared found FAILURE"
    yield Case(
        "a workflow that has ended takes neither submit nor step",
        "5",
        (
            *(Call("prepare", WORKFLOW), submit("succeed")),
            submit("failed", ERROR, ended),
            submit("succeed", ERROR, ended),
            Call("registerBranch", step("03", "action", "succeed"), FAILURE, refused),
        ),
        "succeed",
    )
    yield Case(
        "a workflow is ended by its client, not by an abort",
        "5",
        (
            Call("prepare", WORKFLOW),
            Call(
                *("abort", {"gid": "GID", "trans_type": "workflow"}, FAILURE),
                "trans type: 'workflow' current status 'prepared', cannot abort. FAILURE",
            ),
        ),
        "prepared",
    )
    yield Case("the end of an unknown workflow names the gid", "5", (submit("succeed", ERROR, UNKNOWN_GID),))
    yield Case(
        "the end of a workflow is succeed or failed",
        "5",
        (
            Call("prepare", WORKFLOW),
            submit("aborting", ERROR, "req_extra.status must be succeed or failed, not 'aborting'"),
        ),
        "prepared",
    )
