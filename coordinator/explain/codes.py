"""The codes by which people, scripts and the run-book know why it waits; they keep their meaning. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Code:
    """One reason. title: in a few words. what_to_do: sentences; GID stands for the transaction's.

    is_trouble: somebody should do something; False: time alone, or the client, will.
    """

    id: str
    title: str
    what_to_do: str
    is_trouble: bool = True


_ALL: Final = (
    Code("W01", "driven now", "Nothing: look again in a moment.", is_trouble=False),
    Code(
        "W02",
        "leased by a coordinator that is not seen any more",
        "Nothing, or start that coordinator: another one takes it up when the lease is over. See dtm nodes.",
    ),
    Code("W03", "waits for its delay", "Nothing: its sender asked for the delay.", is_trouble=False),
    Code(
        "W04",
        "waits for its client",
        "Nothing: its client is still at work, or has given it up. If it takes long, look there.",
        is_trouble=False,
    ),
    Code(
        "W05",
        "waits for a place",
        "Nothing, once calls end: there are as many as may run at a time. If it lasts, the service is too"
        " slow for what it is asked; see EndpointConcurrencyMax and ConcurrencyMax in docs/configuration.md.",
    ),
    Code(
        "W06",
        "its endpoint is held",
        "Nothing: it is called when the hold is over. If the service is back before: dtm release ENDPOINT,"
        " as dtm endpoints names it.",
        is_trouble=False,
    ),
    Code(
        "W07",
        "due, and taken up by nobody",
        "See that a coordinator runs and is ready: dtm nodes, dtm doctor. A backlog goes away by itself.",
    ),
    Code("W08", "waits for its next round", "Wait, or: dtm retry GID", is_trouble=False),
    Code("W11", "connections are refused", "Start the service, or correct where it is. Then: dtm retry GID"),
    Code(
        "W12",
        "no answer in time",
        "See why the service hangs. What the call does may have happened: the barrier makes the"
        " repeat harmless. If it only takes long, give a longer request_timeout. Then: dtm retry GID",
    ),
    Code(
        "W13",
        "TLS fails",
        "Renew the certificate, or have the coordinator trust it: dtm check --connect, docs/security.md."
        " Then: dtm retry GID",
    ),
    Code(
        "W14",
        "no such path",
        "Have the service take this url, as it is called for ever. If the url was wrong from the start, do by"
        " hand what it should have done and go on without it: dtm skip GID. Or: dtm plan GID --rollback",
    ),
    Code(
        "W15",
        "the service fails",
        "Look at the log of the service: it has taken the call and failed. Then: dtm retry GID",
    ),
    Code(
        "W16",
        "the name leads nowhere",
        "Correct the host's name, or see to the name server. Then: dtm retry GID",
    ),
    Code(
        "W17",
        "the request itself is refused",
        "Asked again as it is, it is refused again: correct the service, or do by hand what the payload"
        " should have done and go on without it: dtm skip GID. Clients can have the status count as FAILURE:"
        " failure_statuses.",
    ),
    Code(
        "W18",
        "answered, but not with success",
        "Only 200 (gRPC: OK) is success: correct the service, or what redirects. Then: dtm retry GID",
    ),
    Code(
        "W19",
        "the answer broke off",
        "See why the service, or a proxy before it, cuts answers. Then: dtm retry GID",
    ),
    Code(
        "W21",
        "ONGOING: not finished yet",
        "Nothing, if this may take long: it is asked again. Otherwise see what the service waits for.",
        is_trouble=False,
    ),
    Code(
        "W22",
        "what must succeed says FAILURE",
        "What was promised or done can only be gone on with or undone, so it is called for ever. Mend what"
        " the service objects to, or do it by hand and go on without it: dtm skip GID",
    ),
    Code(
        "W31",
        "clocks are apart",
        "Set the clocks of coordinator and database: 3 s apart or more, rows are due too late or too early.",
    ),
    Code(
        "W32",
        "may not be called",
        "Name the place in Branches.Allow if it is a branch of yours; if not, find out who asked for it.",
    ),
    Code(
        "W33",
        "no rule explains its rows",
        "Another program wrote them, or a newer coordinator. Look at dtm show GID, put the rows right, or"
        " dtm plan GID --stop.",
    ),
    Code(
        "W34",
        "cannot be called as it is",
        "Its url, payload or a header cannot be sent. Do by hand what it should have done, and go on without"
        " it: dtm skip GID. Or: dtm plan GID --rollback",
    ),
    Code("W40", "it has succeeded", "Nothing.", is_trouble=False),
    Code("W41", "it was rolled back", "Nothing: what may have been done was undone.", is_trouble=False),
    Code("W42", "it was stopped", "What its steps did before stands: dtm show GID tells what to put right."),
)

CODES: Final[Mapping[str, Code]] = {code.id: code for code in _ALL}
