"""Where our answers may differ from the recorded ones, and the rule of ours that says why.

A difference that is not here fails the test, and so does an entry here that no longer differs.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowed:
    """One place. number: of the call in http.json. path: as in `Difference`."""

    number: int
    path: str
    why: "Why"


@dataclass(frozen=True, slots=True)
class Why:
    """The rule and what it says."""

    section: str
    rule: str


VERSION = Why("§3", "each program has its own version")
FEATURES = Why("§3", "what only this server knows, for clients that look before they ask for it")
OPTIONS = Why("§5", "the options of a submit after a prepare are stored, so that a crash keeps them")
OWNER = Why("§9", "the submit of a workflow leaves an owner token, so that it is told from another's")
UNKNOWN = Why("§5", "the message contains the branch's answer; nothing else in it is read")
BAD_INPUT = Why("§3", "bad input gets a sentence that names the field and its problem, and nothing is stored")
JSON_ONLY = Why("§2", "every answer is application/json: clients read JSON from nothing else")
RPC_NULL = Why("§4", "result and error are always there, and the other one is null")
RPC_200 = Why("§4", "JSON-RPC errors come as 200 application/json")

ALLOWED = (
    Allowed(2, "answer.features", FEATURES),
    Allowed(2, "answer.version", VERSION),
    Allowed(34, "answer.transaction.options", OPTIONS),
    Allowed(38, "answer.message", UNKNOWN),
    Allowed(46, "answer.transaction.options", OPTIONS),
    Allowed(58, "answer.message", UNKNOWN),
    Allowed(59, "answer.transaction.options", OPTIONS),
    Allowed(62, "answer.message", UNKNOWN),
    Allowed(66, "answer.transaction.options", OPTIONS),
    Allowed(71, "answer.transaction.owner", OWNER),
    Allowed(72, "answer.transaction.owner", OWNER),
    Allowed(73, "answer.transactions.0.owner", OWNER),
    Allowed(73, "answer.transactions.1.options", OPTIONS),
    Allowed(88, "answer.message", BAD_INPUT),
    Allowed(89, "answer.message", BAD_INPUT),
    Allowed(90, "answer.message", BAD_INPUT),
    Allowed(91, "answer.message", BAD_INPUT),
    Allowed(92, "answer.message", BAD_INPUT),
    Allowed(95, "content_type", JSON_ONLY),
    Allowed(95, "answer.message", BAD_INPUT),
    Allowed(96, "answer.message", BAD_INPUT),
    Allowed(101, "answer.result", RPC_NULL),
    Allowed(103, "answer.error.message", BAD_INPUT),
    Allowed(104, "status", RPC_200),
    Allowed(104, "content_type", RPC_200),
    Allowed(104, "answer.error.message", BAD_INPUT),
)
