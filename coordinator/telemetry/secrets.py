"""What must never appear in a log: passwords, tokens, and what the configuration says is secret."""

import re
from collections.abc import Iterable
from typing import Any, Final

HIDDEN: Final = "…"
_LENGTH_MIN: Final = 4  # characters; a shorter known secret would blacken ordinary words

_SECRET_KEY: Final = re.compile(
    r"(?:pass(?:word|wd)?|pwd|secret|token|authorization|cookie|api_?key|headers?)$", re.IGNORECASE
)
_NAMES: Final = r"(password|passwd|pwd|secret|token|api[_-]?key|authorization|cookie)"
_SCHEMES: Final = r"(?!(?:Bearer|Basic)\b)"  # whose secret is hidden behind them

# Each begins at something rare and is bounded: a line may be long.
_PATTERNS: Final = (
    # scheme://user:password@host
    (re.compile(r"(://[^\s/:@]{0,256}):[^\s/]{1,256}@"), rf"\1:{HIDDEN}@"),
    # user:password@tcp(host:port)/database, Go's form of a data source
    (re.compile(r":\S{1,128}@(tcp|unix)\("), rf":{HIDDEN}@\1("),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{4,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    # Authorization: ApiKey …
    (
        re.compile(
            rf"""(authorization["']?\s{{0,4}}[=:]\s{{0,4}}){_SCHEMES}\w{{1,32}}[ ][\w.~+/=-]{{4,}}""", re.I
        ),
        rf"\1{HIDDEN}",
    ),
    # "token": "…" with blanks in it; behind a backslash each, where it is JSON within JSON
    (
        re.compile(rf"""{_NAMES}(\\?"\s{{0,4}}[=:]\s{{0,4}}\\?"){_SCHEMES}[^"\\]{{1,512}}""", re.I),
        rf"\1\2{HIDDEN}",
    ),
    # password=…, 'token': '…'; MySQL's `using password: YES` is no secret
    (
        re.compile(
            rf"""{_NAMES}(["']?\s{{0,4}}[=:]\s{{0,4}}["']?){_SCHEMES}(?!YES\b|NO\b)[^\s"'&,;)}}]+""",
            re.IGNORECASE,
        ),
        rf"\1\2{HIDDEN}",
    ),
)


# One of them is in all that the patterns find; most texts have none, and pay for the look alone.
_SIGNS: Final = (
    "@", "bearer", "basic", "password", "passwd", "pwd", "secret", "token", "api", "authorization", "cookie",
)  # fmt: skip


class Secrets:
    """Hides secrets in what is about to be written. known: their exact values."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        # The longest first: one may be part of another.
        self._known = sorted({value for value in known if len(value) >= _LENGTH_MIN}, key=len, reverse=True)

    def hidden(self, text: str) -> str:
        """The text, with `…` in the place of each secret."""
        for value in self._known:
            text = text.replace(value, HIDDEN)
        if not _may_have_one(text):
            return text
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def hidden_field(self, key: str, value: Any) -> Any:
        """A field's value; nothing of it when its name says that it is a secret."""
        if _SECRET_KEY.search(key):
            return HIDDEN
        if value is None or isinstance(value, int | float):
            return value
        return self.hidden(value if isinstance(value, str) else str(value))


def _may_have_one(text: str) -> bool:
    if not text.isascii():  # other alphabets have letters that are `s` and `k` to a pattern, and not here
        return True
    lowered = text.lower()
    return any(sign in lowered for sign in _SIGNS)
