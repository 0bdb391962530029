"""What steps answered that keep their result, as JSON has it (PROTOCOL §6, *here*)."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any


def render_results(results: Mapping[str, bytes]) -> dict[str, Any]:
    """What steps answered, by branch_id, as text; what is none as base64, by another name."""
    texts: dict[str, str] = {}
    others: dict[str, str] = {}
    for branch_id, content in results.items():
        try:
            texts[branch_id] = content.decode()
        except UnicodeDecodeError:
            others[branch_id] = b64encode(content).decode()
    return {"results": texts, **({"results_base64": others} if others else {})}


def render_result(branch_id: str, content: bytes | None) -> dict[str, Any]:
    """One of them, for operators. content: None for who may not see it."""
    shown = render_results({branch_id: content}) if content is not None else {}
    return {
        "branch_id": branch_id,
        "text": shown.get("results", {}).get(branch_id),
        "base64": shown.get("results_base64", {}).get(branch_id),
    }
