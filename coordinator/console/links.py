"""Links to where else something is told of a transaction, made of templates. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from coordinator.model import Transaction
from coordinator.telemetry.trace_context import trace_field


@dataclass(frozen=True, slots=True)
class LinkTemplates:
    """Urls with `{gid}` and `{trace_id}` in them; empty for none."""

    trace: str = ""
    logs: str = ""


NO_LINKS: Final = LinkTemplates()


@dataclass(frozen=True, slots=True)
class Links:
    """trace_id: of the transaction, empty where it has none. trace, logs: urls; empty where there is none."""

    trace_id: str
    trace: str
    logs: str


def links_of(templates: LinkTemplates, transaction: Transaction) -> Links:
    """The links about this transaction."""
    trace_id = trace_field(transaction.ext_data).get("trace", "")
    values = {"gid": transaction.gid, "trace_id": trace_id}
    return Links(trace_id, _filled(templates.trace, values), _filled(templates.logs, values))


def _filled(template: str, values: Mapping[str, str]) -> str:
    """The template with the values in it, encoded; nothing where it wants one that there is not."""
    for name, value in values.items():
        place = f"{{{name}}}"
        if place in template and not value:
            return ""
        template = template.replace(place, quote(value, safe="", errors="replace"))
    return template
