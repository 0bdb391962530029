"""Where calls may go, and what connections are encrypted with."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from coordinator.config.frozen import Frozen
from coordinator.discovery.place_rules import parse_place_rules


def _place_rules(text: str) -> str:
    parse_place_rules(text)
    return text


class Branches(Frozen):
    """Where branches may live: host names in which `*` stands for anything, addresses, networks.

    And, for `https://` and `grpcs://`, by whose certificates they are known. Files are PEM.
    """

    allow: Annotated[str, AfterValidator(_place_rules)] = ""  # nowhere else; empty: anywhere
    deny: Annotated[str, AfterValidator(_place_rules)] = ""  # nowhere there, whatever `allow` says
    ca_file: str = ""  # who signs branches' certificates; empty: whom the system trusts
    cert_file: str = ""  # the certificate that is shown to branches, with its chain
    key_file: str = ""  # its key; empty: in cert_file


class Tls(Frozen):
    """The certificate that HttpPort and GrpcPort listen with; files are PEM."""

    cert_file: str = ""  # with its chain; empty: no encryption
    key_file: str = ""  # its key; empty: in cert_file
    client_ca_file: str = ""  # who signs clients' certificates; empty: none are asked for
    clients: Literal["required", "optional"] = "required"  # with client_ca_file


class Operators(Frozen):
    """A port of their own for those who look after the coordinator, and what it listens with."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0  # HTTP; 0: their calls are answered at http_port
    grpc_port: Annotated[int, Field(ge=0, le=65535)] = 0  # with port; 0: theirs are not answered over gRPC
    cert_file: str = ""  # as those of `Tls`; empty: the four of that section
    key_file: str = ""
    client_ca_file: str = ""
    clients: Literal["required", "optional"] = "required"
