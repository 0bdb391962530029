"""What a branch said: the words for people in its answer, and where that is found (PROTOCOL §2, §6). Pure."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from coordinator.client.errors import FAILURE_WORD, Failure, Said
from coordinator.discovery.logins import shown_url
from coordinator.model import Op, Step

BRANCH_HEADER: Final = "dtm-branch"
_REASON_CHARACTERS_MAX: Final = 500
# What frameworks call the sentence of an error, the likeliest first.
_FIELDS: Final = ("message", "detail", "reason", "error", "error_description", "msg", "title")
_ROLLED_BACK: Final = re.compile(r"url:(?P<url>\S+) return failed: (?P<raw>.*)", re.DOTALL)
_CLOSING: Final = re.compile(rf"[\s.:;,-]*\b{FAILURE_WORD}\s*\Z")


def said_by(url: str, branch_id: str, op: str, status: int | None, raw: str) -> Said:
    """Return what a branch said, with the words that are in it."""
    return Said(url, branch_id, op, status, raw, words_of(raw))


def words_of(raw: str) -> str:
    """Return the words for people in a body or message: of JSON its sentence, of all else the text."""
    text = _CLOSING.sub("", raw.strip())
    if text[:1] in ("{", "[", '"'):
        try:
            return _CLOSING.sub("", _sentence(json.loads(text))).strip()
        except (ValueError, RecursionError):
            pass
    return text[:_REASON_CHARACTERS_MAX]


def _sentence(value: Any, depth: int = 0) -> str:
    if isinstance(value, str):
        return value
    if depth > 3:
        return ""
    if isinstance(value, dict):
        if isinstance(value.get("msg"), str) and isinstance(value.get("loc"), list):  # FastAPI's 422
            return f"{'.'.join(map(str, value['loc']))}: {value['msg']}"
        found = (_sentence(value[name], depth + 1) for name in _FIELDS if name in value)
        return next((one for one in found if one), "")
    if isinstance(value, list):
        return "; ".join(one for item in value[:10] if (one := _sentence(item, depth + 1)))
    return ""


def said_in_header(header: str) -> Said | None:
    """Read what our own coordinator tells beside its answer; None for nothing, or what nobody understands."""
    if not header:
        return None
    try:
        told = json.loads(header)
        status = told["status"]
        texts = [told[name] for name in ("url", "branch_id", "op", "said")]
    except (ValueError, KeyError, TypeError):
        return None
    if not all(isinstance(one, str) for one in texts) or not (status is None or isinstance(status, int)):
        return None
    url, branch_id, op, raw = texts
    return said_by(url, branch_id, op, status, raw)


def said_in_reason(rollback_reason: str, told: Said | None = None) -> Said | None:
    """Read a rollback reason, `url:… return failed: …`; None where it is about no branch's answer.

    told: what was told beside it, whose branch, status and longer text count.
    """
    found = _ROLLED_BACK.match(rollback_reason)
    if found is None:
        return None
    raw = found["raw"].removesuffix(FAILURE_WORD).rstrip()
    if told is None:
        return said_by(found["url"], "", Op.ACTION, None, raw)
    return told if len(told.raw) >= len(raw) else replace(told, raw=raw, reason=words_of(raw))


def with_step(said: Said, steps: Sequence[Step]) -> Said:
    """Return it with the id of the step whose action has that url, where it is one alone."""
    same = [number for number, step in enumerate(steps, start=1) if shown_url(step.action) == said.url]
    return replace(said, branch_id=f"{same[0]:02d}") if len(same) == 1 and not said.branch_id else said


def rollback_reason_of(error: BaseException) -> str:
    """Return what is stored when this error rolls a transaction back; `said_in_reason` reads it again."""
    if isinstance(error, Failure) and error.said is not None:
        return f"url:{error.url} return failed: {error.raw}"[:_REASON_CHARACTERS_MAX]
    return (str(error) or type(error).__name__)[:_REASON_CHARACTERS_MAX]
