"""Views that somebody has saved: filters by name, kept in a cookie of their own browser. Pure."""

import base64
import binascii
from collections.abc import Mapping
from typing import Final

import orjson

from coordinator.errors import Invalid

COOKIE: Final = "dtm-views"
VIEWS_MAX: Final = 10
NAME_MAX: Final = 40  # characters
_BYTES_MAX: Final = 3000  # of the cookie: browsers keep 4,096 of each
_YEAR: Final = 365 * 86_400  # seconds


def saved_views(cookie: str) -> Mapping[str, str]:
    """Filters by name, in their order; none for what is no cookie of ours."""
    try:
        found = orjson.loads(base64.urlsafe_b64decode(cookie[:_BYTES_MAX].encode()))
    except (binascii.Error, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    texts = {name: its for name, its in found.items() if isinstance(its, str)}
    return dict(list(texts.items())[:VIEWS_MAX])


def with_view(views: Mapping[str, str], name: str, wanted: str) -> Mapping[str, str]:
    """These and one more, or the same name with another filter. Raises Invalid."""
    if not name or len(name) > NAME_MAX or not name.isprintable():
        raise Invalid(f"name: must have 1 to {NAME_MAX} printable characters")
    if not wanted:
        raise Invalid("filter: is empty, which is the view `all`")
    if name not in views and len(views) >= VIEWS_MAX:
        raise Invalid(f"name: {VIEWS_MAX} views are saved already: leave one out first")
    made = {**views, name: wanted}
    if len(_packed(made)) > _BYTES_MAX:
        raise Invalid("filter: is too long to be saved beside the others: leave one out first")
    return made


def views_cookie(views: Mapping[str, str], path: str) -> str:
    """The line of Set-Cookie that keeps these for a year."""
    kept = f"Path={path}; Max-Age={_YEAR if views else 0}; HttpOnly; SameSite=Lax"
    return f"{COOKIE}={_packed(views)}; {kept}"


def _packed(views: Mapping[str, str]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(views)).decode()
