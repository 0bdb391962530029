"""The section `Links` of the configuration: where else something is told of a transaction."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator
from yarl import URL

from coordinator.config.frozen import Frozen

PLACES: Final = ("gid", "trace_id")
_PLACE: Final = re.compile(r"\{([^{}]*)\}")


def _template(text: str) -> str:
    if not text:
        return text
    unknown = [name for name in _PLACE.findall(text) if name not in PLACES]
    if unknown:
        known = " and ".join(f"{{{name}}}" for name in PLACES)
        raise ValueError(f"{{{unknown[0][:40]}}} means nothing; {known} stand for the transaction's own")
    filled = _PLACE.sub("0", text)
    try:
        url = URL(filled)
        fine = url.scheme in {"http", "https"} and bool(url.host) and filled.isprintable()
    except ValueError:
        fine = False
    if not fine or "{" in filled or "}" in filled or URL(filled).host != URL(_PLACE.sub("1", text)).host:
        raise ValueError("this is no url such as https://jaeger/trace/{trace_id}, on http or https")
    return text


Template = Annotated[str, AfterValidator(_template)]  # a url with {gid} and {trace_id} in it


class Links(Frozen):
    """Where else something is told of a transaction, as the console links to it."""

    trace: Template = ""  # `https://jaeger/trace/{trace_id}`; empty: no link
    logs: Template = ""  # `https://logs/?q={gid}`; empty: no link
