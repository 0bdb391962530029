"""The section `Access` of the configuration: who may do what."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from coordinator.config.client_certificates import CertificateEntry, parse_certificates
from coordinator.config.frozen import Frozen


def _lower(text: object) -> object:
    return text.lower() if isinstance(text, str) else text


AccessMode = Annotated[Literal["off", "operators", "all"], BeforeValidator(_lower)]


class Access(Frozen):
    """Who may do what."""

    mode: AccessMode = "off"  # for what a token is needed: nothing, all but the transaction API, or all
    metrics: Literal["open", "token"] = "open"  # whether /api/metrics needs one, in modes other than off
    # Origins whose pages may change something, separated by commas; by their names loopback may be asked.
    origins: str = ""
    # Whose a client's certificate is, by a name in it: `SAN role [name=NAME] [gids=PREFIX]`, commas between.
    certificates: str = ""
    audit_days: Annotated[int, Field(ge=1, le=36_500)] = 365  # that the record of who did what is kept

    @property
    def origin_list(self) -> tuple[str, ...]:
        """The single origins, without blanks around them."""
        return tuple(name.strip() for name in self.origins.split(",") if name.strip())

    @property
    def certificate_list(self) -> Sequence[CertificateEntry]:
        """What `certificates` says."""
        return parse_certificates(self.certificates)

    @field_validator("certificates")
    @classmethod
    def _are_entries(cls, text: str) -> str:
        parse_certificates(text)
        return text

    @field_validator("origins")
    @classmethod
    def _are_origins(cls, text: str) -> str:
        for name in filter(None, map(str.strip, text.split(","))):
            if not re.fullmatch(r"https?://[^\s/?#@,]+/?", name, flags=re.IGNORECASE):
                raise ValueError(f"{name[:40]!r} is no origin such as https://dtm.example:8443")
        return text
