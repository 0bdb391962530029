"""The codes by which people, scripts and the run-book know why it waits; they keep their meaning. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from coordinator.explain.sentences import FIRST, Sentence


@dataclass(frozen=True, slots=True)
class Code:
    """One reason. title: in a few words.

    is_trouble: somebody should do something; False: time alone, or the client, will.
    """

    id: str
    title: str
    is_trouble: bool = True

    def advice(self, language: str = FIRST) -> str:
        """What to do, in that language; GID stands for the transaction's."""
        return Sentence(f"do_{self.id}").told(language)

    @property
    def what_to_do(self) -> str:
        """The same, in English."""
        return self.advice()


_ALL: Final = (
    Code("W01", "driven now", is_trouble=False),
    Code("W02", "leased by a coordinator that is not seen any more"),
    Code("W03", "waits for its delay", is_trouble=False),
    Code("W04", "waits for its client", is_trouble=False),
    Code("W05", "waits for a place"),
    Code("W06", "its endpoint is held", is_trouble=False),
    Code("W07", "due, and taken up by nobody"),
    Code("W08", "waits for its next round", is_trouble=False),
    Code("W11", "connections are refused"),
    Code("W12", "no answer in time"),
    Code("W13", "TLS fails"),
    Code("W14", "no such path"),
    Code("W15", "the service fails"),
    Code("W16", "the name leads nowhere"),
    Code("W17", "the request itself is refused"),
    Code("W18", "answered, but not with success"),
    Code("W19", "the answer broke off"),
    Code("W21", "ONGOING: not finished yet", is_trouble=False),
    Code("W22", "what must succeed says FAILURE"),
    Code("W31", "clocks are apart"),
    Code("W32", "may not be called"),
    Code("W33", "no rule explains its rows"),
    Code("W34", "cannot be called as it is"),
    Code("W40", "it has succeeded", is_trouble=False),
    Code("W41", "it was rolled back", is_trouble=False),
    Code("W42", "it was stopped"),
)

CODES: Final[Mapping[str, Code]] = {code.id: code for code in _ALL}
